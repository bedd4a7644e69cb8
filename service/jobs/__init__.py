"""The job queue, the requeuing of lost job messages and backbone upgrades."""
