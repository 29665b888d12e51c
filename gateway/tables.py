"""The tables. Plain types only, so that every statement means the same on SQLite and on PostgreSQL.

Times are ISO 8601 text in UTC with microseconds: they sort as text, and no driver re-interprets them.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
)

REVISION: Final = "0013"
"""The latest migration, which makes these tables."""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# The projection of a log: `body` is the folded task as JSON, `head` the hash of its last event.
tasks = Table(
    "tasks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("tenant", String(128), nullable=False),
    Column("task_id", String(160), nullable=False),
    Column("caller", String(128), nullable=False),
    Column("anonymous", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("head", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Column("opened_at", String(32), nullable=False),
    UniqueConstraint("tenant", "task_id"),
    Index(None, "tenant", "caller", "anonymous", "state"),
)

# The truth: the key is the concurrency control.
events = Table(
    "events",
    metadata,
    Column("task", String(64), ForeignKey("tasks.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("at", String(32), nullable=False),
    Column("type", String(32), nullable=False),
    Column("data", Text, nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)
_SPARED = events.c.type == literal_column("'Spared'")
Index("ix_events_spared", events.c.at, sqlite_where=_SPARED, postgresql_where=_SPARED)

# Bodies of executions: `request` is what was asked, `answer` what came of it, both JSON. `kept` has a bit for each that
# retention may still delete; the log binds them by digest, so that a chain stays whole without them.
executions = Table(
    "executions",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("task", String(64), ForeignKey("tasks.id"), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("caller", String(128), nullable=False),
    Column("profile", String(128), nullable=False),
    Column("policy", String(64), nullable=False),
    Column("source", String(16), nullable=False),
    Column("of", String(64), nullable=True),
    Column("idempotency_key", String(255), nullable=True),
    Column("request_digest", String(64), nullable=False),
    Column("request", Text, nullable=False),
    Column("status", String(32), nullable=True),
    Column("answer_source", String(16), nullable=True),
    Column("repeats", String(64), nullable=True),
    Column("answer", Text, nullable=True),
    Column("submitted_at", String(32), nullable=False),
    Column("answered_at", String(32), nullable=True),
    Column("kept", Integer, nullable=False, server_default="0"),
    Column("code_deleted_at", String(32), nullable=True),
    Column("output_deleted_at", String(32), nullable=True),
    Column("files_deleted_at", String(32), nullable=True),
    Column("policy_name", String(64), nullable=False, server_default=""),
    UniqueConstraint("tenant", "caller", "idempotency_key"),
    Index(None, "task", "id"),
)
_WAITS = executions.c.answered_at.is_(None)
Index("ix_executions_unanswered", executions.c.id, sqlite_where=_WAITS, postgresql_where=_WAITS)
_KEPT = executions.c.kept > 0
Index(
    "ix_executions_kept",
    executions.c.profile,
    executions.c.answered_at,
    executions.c.id,
    executions.c.kept,
    sqlite_where=_KEPT,
    postgresql_where=_KEPT,
)

files = Table(
    "files",
    metadata,
    Column("execution", String(64), ForeignKey("executions.id"), primary_key=True),
    Column("path", String(512), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

# Which execution's record answers all of its kind. Its key is a digest; the execution may be gone.
results = Table(
    "results",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("execution", String(64), nullable=False),
)

reviews = Table(
    "reviews",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("task", String(64), ForeignKey("tasks.id"), nullable=False),
    Column("tenant", String(128), nullable=False),
    Column("execution", String(64), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("state", String(16), nullable=False),
    Column("opened_at", String(32), nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("ruling", String(32), nullable=True),
    Column("ruled_execution", String(64), nullable=True),
    Column("message", Text, nullable=True),
    Column("decided_by", String(128), nullable=True),
    Column("decided_at", String(32), nullable=True),
    Column("level", Integer, nullable=False, server_default="0"),
    Column("due_at", String(32), nullable=True),
    Column("proposal", Text, nullable=True),
    Index(None, "task"),
    Index(None, "tenant", "id"),
    Index(None, "tenant", "state", "id"),
    Index(None, "state", "expires_at"),
    Index(None, "state", "due_at"),
    Index(None, "state", "id"),
)

# What people said yes to, by a digest of the question: until then, the same question is answered so.
approvals = Table(
    "approvals",
    metadata,
    Column("question", String(64), primary_key=True),
    Column("review", String(64), nullable=False),
    Column("decided_by", String(128), nullable=False),
    Column("decided_at", String(32), nullable=False),
    Column("limits", Text, nullable=False),
    Column("until", String(32), nullable=False),
    Index(None, "until"),
)

# Who looked at an open review, and at which state of it: once per person and token.
sightings = Table(
    "sightings",
    metadata,
    Column("review", String(64), primary_key=True),
    Column("seen_by", String(128), primary_key=True),
    Column("token", String(64), primary_key=True),
    Column("seen_at", String(32), nullable=False),
)

# Every resolved policy that ever decided, by its digest, so that any past run can be explained.
policies = Table(
    "policies",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    Column("first_used_at", String(32), nullable=False),
)

# Where an execution belongs in a trace (W3C Trace Context): its caller's, or the span of the request that brought it.
traces = Table(
    "traces",
    metadata,
    Column("execution", String(64), primary_key=True),
    Column("parent", String(55), nullable=False),
    Column("state", String(512), nullable=False),
)

# What programs were found to need, by the digest of what they import: where the next one's memory begins.
memory_sizes = Table(
    "memory_sizes",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("imports", String(64), primary_key=True),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("found_at", String(32), nullable=False),
    Index(None, "found_at"),
)

# What each key that has a share of the day used of it, by the day of UTC.
uses = Table(
    "uses",
    metadata,
    Column("tenant", String(128), primary_key=True),
    Column("caller", String(128), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("executions", Integer, nullable=False),
    Column("cpu_milliseconds", BigInteger, nullable=False),
    Index(None, "day"),
)

# Everything that ever was in force around programs, by its digest; `trials` is what its latest self-test found.
postures = Table(
    "postures",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("document", Text, nullable=False),
    Column("trials", Text, nullable=True),
    Column("tested_at", String(32), nullable=True),
)

# The outbox: a letter to one webhook or mail address, written with the event that it tells of, gone when its receiver took it.
letters = Table(
    "letters",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("webhook", String(320), nullable=False),
    Column("type", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("written_at", String(32), nullable=False),
    Column("due_at", String(32), nullable=False),
    Column("tried_at", String(32), nullable=True),
    Column("error", Text, nullable=True),
    Index(None, "state", "webhook", "due_at", "id"),
    Index(None, "state", "id"),
)
