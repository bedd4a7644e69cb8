"""Jobs that tune a version again on a new backbone, and the backbones that services run on."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.add_column("jobs", sa.Column("kind", sa.String(length=16), nullable=False, server_default="tune"))
    op.add_column("jobs", sa.Column("source", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("target", sa.String(length=64), nullable=True))
    op.create_index("ix_jobs_tenant_source_target", "jobs", ["tenant", "source", "target"], unique=True)
    op.create_table(
        "backbones",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_backbones")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("backbones")
    op.drop_index("ix_jobs_tenant_source_target", "jobs")
    with op.batch_alter_table("jobs") as batch:
        for name in ("target", "source", "kind"):
            batch.drop_column(name)
