"""The study: where progress rewards beat outcome reward and its cheap rivals, on `mini-deep`, and where they do not."""
