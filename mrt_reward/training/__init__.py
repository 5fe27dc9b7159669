"""What training loops share, whatever their framework: settings, scoring, marks on tokens, advantages, metrics."""
