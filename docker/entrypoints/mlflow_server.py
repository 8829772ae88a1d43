"""MLflow's server on PostgreSQL, with a password for every user. No password is part of a URI or of a command line."""

import os
from pathlib import Path

import psycopg
from ports import MLFLOW
from waiting import ROLE, need, wait_for

SETTINGS = Path("/tmp/basic_auth.ini")


def main() -> None:
    ROLE.write_text("mlflow_server", encoding="utf-8")
    for name in ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", "PGPASSWORD"):
        need(name)
    database = need("MLFLOW_BACKEND_STORE_URI")  # without the password, which is PGPASSWORD
    wait_for("PostgreSQL", lambda: psycopg.connect(database.replace("+psycopg", ""), connect_timeout=5).close())
    SETTINGS.unlink(missing_ok=True)
    SETTINGS.touch(mode=0o600)
    SETTINGS.write_text(
        "[mlflow]\n"
        f"database_uri = {database}\n"  # users and runs have different tables
        "default_permission = READ\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        "auth_cache_ttl_seconds = 60\n",  # the hash of a password is slow, and a sweep sends many requests
        encoding="utf-8",
    )
    os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(SETTINGS)
    # Disables the job runners that evaluate language models: three processes of 250 MB that are not used here.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    command = ["mlflow", "server", "--app-name", "basic-auth", "--host", "0.0.0.0", "--port", str(MLFLOW), "--workers", "1"]
    os.execvp("mlflow", [*command, "--artifacts-destination", os.environ.get("ARTIFACTS", "/artifacts")])


if __name__ == "__main__":
    main()
