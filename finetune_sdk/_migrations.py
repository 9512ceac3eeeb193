"""The store's schema, one tuple of statements per version. Append only: what is released stays as it is."""

from __future__ import annotations

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """
        CREATE TABLE job (
            id TEXT PRIMARY KEY,
            provider TEXT NOT NULL,
            spec TEXT NOT NULL,
            spec_sha256 TEXT NOT NULL,
            plan TEXT NOT NULL,
            ref TEXT,
            status TEXT NOT NULL CHECK (status IN ('preparing', 'validating', 'queued', 'running', 'paused',
                                                   'cancelling', 'succeeded', 'failed', 'cancelled')),
            raw_status TEXT,
            error TEXT,
            model TEXT,
            usage TEXT,
            metrics TEXT NOT NULL DEFAULT '{}',
            attempt INTEGER NOT NULL DEFAULT 1,
            intent TEXT CHECK (intent IN ('cancel', 'pause', 'resume')),
            doubt TEXT,
            submitter TEXT,
            created_at TEXT NOT NULL,
            updated_at TEXT NOT NULL
        ) STRICT
        """,
        "CREATE UNIQUE INDEX job_ref ON job (provider, ref) WHERE ref IS NOT NULL",
        """
        CREATE TABLE event (
            job_id TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
            seq INTEGER NOT NULL,
            cursor TEXT NOT NULL,
            origin TEXT NOT NULL CHECK (origin IN ('provider', 'sdk')),
            at TEXT NOT NULL,
            level TEXT NOT NULL,
            message TEXT NOT NULL,
            step INTEGER,
            metrics TEXT NOT NULL DEFAULT '{}',
            PRIMARY KEY (job_id, seq),
            UNIQUE (job_id, cursor)
        ) STRICT, WITHOUT ROWID
        """,
        """
        CREATE TABLE deployment (
            id TEXT PRIMARY KEY,
            job_id TEXT REFERENCES job (id) ON DELETE SET NULL,
            provider TEXT NOT NULL,
            body TEXT NOT NULL,
            updated_at TEXT NOT NULL
        ) STRICT
        """,
    ),
    (
        "ALTER TABLE job ADD COLUMN held INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1))",
        "UPDATE job SET held = 1 WHERE status = 'paused'",  # until now every pause was at rest
    ),
)
