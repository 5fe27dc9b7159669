"""Training data from scored traces: one module per kind of data, each a pure selection and a writer of rows."""
