"""Deadlines and predicted ends of jobs, first versions, and measured rates of the phases of a job."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
COLUMNS = {
    "deadline": sa.Float,
    "estimate": sa.Float,
    "expected_end": sa.Float,
    "first_number": sa.Integer,
    "first_version": sa.Integer,
}


def upgrade() -> None:
    """Apply."""
    for name, kind in COLUMNS.items():
        op.add_column("jobs", sa.Column(name, kind(), nullable=True))
    op.create_table(
        "job_rates",
        sa.Column("phase", sa.String(length=32), nullable=False),
        sa.Column("seconds_per_unit", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("phase", name=op.f("pk_job_rates")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("job_rates")
    with op.batch_alter_table("jobs") as batch:
        for name in COLUMNS:
            batch.drop_column(name)
