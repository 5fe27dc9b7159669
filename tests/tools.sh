#!/usr/bin/env bash
# Programs that rows of the tests run, for a machine where they are not installed: into build/tools, and no service is started.
#   tests/tools.sh       redis-server and promtool, 20 MB of Debian's, as root; says what then is missing, and that is no error
#   tests/tools.sh all   chromium (220 MB) and systemd-analyze too; from PyPI helm and kubectl, and kubernetes-validate into
#                        build/tools/site; ends with 1 where one is missing
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/build/tools
mkdir -p "$tools/bin"
export PATH=$tools/bin:$PATH
PYTHON=${PYTHON:-python3}
small=(redis-server promtool)
all=("${small[@]}" systemd-analyze chromium helm kubectl kubernetes-validate)
has() {
  if [ "$1" = kubernetes-validate ]; then [ -d "$tools/site/kubernetes_validate" ]; else type -P "$1" > /dev/null; fi
}
# A mirror that does not answer costs .ci/run two minutes at most.
limit_s=$([ "${1:-}" = all ] && echo 600 || echo 40)
debian() { timeout "$limit_s" apt-get -qq -o APT::Sandbox::User=root "$@" > /dev/null; }
installed() { DEBIAN_FRONTEND=noninteractive debian install -y --no-install-recommends "$1"; }

get() {
  case $1 in
    # The package redis-server would start one. This is the same program, which goes by its name.
    redis-server) installed redis-tools && /usr/bin/redis-check-rdb --version > /dev/null &&
      ln -sf /usr/bin/redis-check-rdb "$tools/bin/redis-server" ;;
    promtool) (cd "$tools" && rm -f prometheus_*.deb && debian download prometheus &&
      dpkg-deb --fsys-tarfile prometheus_*.deb | tar x ./usr/bin/promtool && install usr/bin/promtool bin &&
      rm -r usr prometheus_*.deb) ;;
    systemd-analyze) installed systemd ;;
    chromium) installed chromium ;;
    helm | kubectl | kubernetes-validate)
      "$PYTHON" -m pip --disable-pip-version-check install --quiet --no-compile --no-deps --require-hashes \
        --target "$tools/site" --upgrade -r constraints/deploy.txt &&
        tar xzf "$tools"/site/aws_cdk/*/_jsii/*.tgz -C "$tools" package/lib/layer.zip &&
        "$PYTHON" -m zipfile -e "$tools/package/lib/layer.zip" "$tools/package" &&
        install "$tools/package/helm/helm" "$tools/package/kubectl/kubectl" "$tools/bin" &&
        rm -r "$tools/package" "$tools/site/aws_cdk" ;;
  esac
}

wanted=("${small[@]}")
[ "${1:-}" != all ] || wanted=("${all[@]}")
updated=
for program in "${wanted[@]}"; do
  has "$program" && continue
  [ -n "$updated" ] || debian update || true
  updated=yes
  get "$program" || true
done
missing=()
for program in "${all[@]}"; do has "$program" || missing+=("$program"); done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "rows that run these skip, because they are not here: ${missing[*]} (as root, tests/tools.sh all installs them)" >&2
[ "${1:-}" != all ]
