-- What every peer stores. No foreign keys: the least that keeps deliveries, cases, their log and their messages.
CREATE TABLE deliveries (
    id text PRIMARY KEY,                    -- webhook-id: the dedupe key
    body bytea NOT NULL,
    received_at timestamptz NOT NULL
);
CREATE TABLE cases (
    id uuid PRIMARY KEY,
    account text NOT NULL,
    kind text NOT NULL,
    external_id text NOT NULL,
    order_id text NOT NULL,
    state text NOT NULL,
    due_at timestamptz,
    seq integer NOT NULL,
    updated_at timestamptz NOT NULL,
    UNIQUE (account, kind, external_id)
);
CREATE INDEX cases_due ON cases (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE case_log (
    delivery_id text PRIMARY KEY,           -- applied once
    case_id uuid NOT NULL,
    seq integer NOT NULL,
    kind text NOT NULL,
    from_state text NOT NULL,
    to_state text NOT NULL,
    data jsonb NOT NULL,
    applied_at timestamptz NOT NULL
);
CREATE INDEX case_log_case ON case_log (case_id);
CREATE TABLE messages (
    id text PRIMARY KEY,                    -- the delivery's id: the idempotency key at the sink
    case_id uuid,
    order_id text NOT NULL,
    purpose text NOT NULL,
    variables jsonb,
    status text NOT NULL,                   -- planned, sending, sent, failed
    body text,
    planned_at timestamptz NOT NULL,
    sent_at timestamptz
);
