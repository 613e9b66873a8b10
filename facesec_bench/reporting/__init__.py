"""Records to tables, figures and a report. Imports no torch."""
