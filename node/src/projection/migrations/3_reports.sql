-- What reports and older history look for.

CREATE INDEX waits_by_start ON waits (starts_at);
