"""Tuning: heads, calibration, model selection and the report of a tenant's prompt."""
