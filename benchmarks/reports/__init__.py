"""How the figures are shown: charts, tables, targets, the document."""
