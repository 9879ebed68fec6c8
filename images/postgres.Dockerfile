# The small database that the chart runs to try things out: Debian's PostgreSQL.
ARG BASE=localhost/carrel-postgres-base:1
FROM ${BASE}
COPY --chmod=755 postgres.sh /usr/local/bin/carrel-postgres
USER 65532:65532
CMD ["carrel-postgres"]
