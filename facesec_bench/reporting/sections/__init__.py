"""The sections of a report. Each is a function from a study to a section, or to None where there is no data."""
