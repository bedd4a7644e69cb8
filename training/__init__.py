"""Training: pre-training the backbone, tuning tenants, evaluation."""
