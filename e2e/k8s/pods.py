"""Pods that are clients of the shop's database."""

QUESTION = "select ssn from customers where id = 1"
MASKED = "***-**-1120"
ENV = [{"name": name, "value": value} for name, value in (
    ("PGHOST", "db.data.svc"), ("PGDATABASE", "shop"), ("PGUSER", "app"), ("PGPASSWORD", "app-secret"), ("PGSSLMODE", "require"),
    ("PGCONNECT_TIMEOUT", "15"))]


def container(*command, name="app", **more):
    """One that finds the database."""
    return {"name": name, "image": "weir.test/client:1", "command": [*command], "env": ENV, **more}


def pod(metadata, *containers, grace=0, **spec):
    """A pod of such containers."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata,
            "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": grace, "containers": [*containers], **spec}}


def asking(metadata, after="true"):
    """A pod that asks once, and then does that."""
    return pod(metadata, container("sh", "-c", f"psql -XAtc '{QUESTION}' && {after}"))
