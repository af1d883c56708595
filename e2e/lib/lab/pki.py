"""Certificates of authorities that exist for one run."""

from . import proc


def issue(where, name, alternatives, authority=None):
    """``NAME.crt`` and ``NAME.key`` for these names (``DNS:…,IP:…``), by an authority of its own: ``AUTHORITY.crt``,
    which is ``NAME-ca.crt`` unless it is said."""
    authority = authority or f"{name}-ca"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    proc.run(["openssl", "req", "-x509", *key, "-keyout", f"{authority}.key", "-out", f"{authority}.crt", "-days", "30",
              "-subj", f"/CN={authority}"], cwd=where)
    with open(f"{where}/{name}.ext", "w", encoding="ascii") as f:
        f.write(f"subjectAltName={alternatives}\n")
    proc.run(["openssl", "req", *key, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"], cwd=where)
    proc.run(["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
              "-CAcreateserial", "-days", "30", "-out", f"{name}.crt", "-extfile", f"{name}.ext"], cwd=where)
