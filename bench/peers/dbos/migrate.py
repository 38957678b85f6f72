"""DBOS's own tables, before the processes start: the client makes none, and two executors would make them at once."""

from dbos import SQLAlchemyDatasource, run_dbos_database_migrations

from bench.peers.work import Settings

if __name__ == "__main__":
    url = Settings.from_environ().sqlalchemy("psycopg")
    run_dbos_database_migrations(system_database_url=url)
    SQLAlchemyDatasource.migrate(url)
