"""The credentials of the lab: fixed, known to everybody, and worth nothing outside of it.

`desired/credentials.example/` may carry the same values. The SCRAM verifier is kept as a value of its own, because
PgBouncer can log on to PostgreSQL with a verifier only if its salt and iterations are those of the server's own.
"""

from __future__ import annotations

DATABASE = "keybuzz"
DATABASE_USER = "keybuzz"
DATABASE_PASSWORD = "lab-keybuzz-password"
DATABASE_VERIFIER = (
    "SCRAM-SHA-256$4096:KPSkj0VDazg590HpqOI+hw==$qCIzS6NdMYt83mT3LK7sTovUqFL+++L/CrxEObMW1vU=:"
    "dfFexGa9A/Os4Iow5vFTZ7Sr1z7MLA/y8RS4714ICps="
)
"""Of DATABASE_PASSWORD, with a fixed salt."""

SUPERUSER_PASSWORD = "lab-postgres-password"
REPLICATION_PASSWORD = "lab-replication-password"

REDIS_PASSWORD = "lab-redis-password"
REDIS_MASTER_NAME = "keybuzz-master"

QUEUE_USER = "keybuzz"
QUEUE_PASSWORD = "lab-rabbitmq-password"

HASH_KEY = "lab-8e1f4a7702c95b3dd6e0f1b29c4a5d7781b3c6e2f0a94d58"

FILES: dict[str, dict[str, str]] = {
    "postgres.env": {
        "POSTGRES_DB": DATABASE,
        "POSTGRES_USER": DATABASE_USER,
        "POSTGRES_PASSWORD": DATABASE_PASSWORD,
        "POSTGRES_VERIFIER": DATABASE_VERIFIER,
    },
    "redis.env": {"REDIS_PASSWORD": REDIS_PASSWORD, "REDIS_MASTER_NAME": REDIS_MASTER_NAME},
    "rabbitmq.env": {"RABBITMQ_USER": QUEUE_USER, "RABBITMQ_PASSWORD": QUEUE_PASSWORD},
    "kbstate.env": {"KBSTATE_HASH_KEY": HASH_KEY},
}
"""The files of the credentials directory."""


def text(values: dict[str, str]) -> str:
    """A file of them; single quotes, for a verifier has dollar signs."""
    return "".join(f"{name}='{value}'\n" for name, value in values.items())
