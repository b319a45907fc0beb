"""Reads documents of Hornero with the public libraries of their formats; fails with what they complain of.

    check.py spdx FILE
    check.py cyclonedx FILE
    check.py envelope FILE PUBLIC_KEY_HEX
"""

import base64
import json
import sys


def spdx(path):
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

    document = parse_file(path)
    complaints = validate_full_spdx_document(document, "SPDX-2.3")
    assert not complaints, "\n".join(one.validation_message for one in complaints[:20])
    return len(document.packages), len(document.files)


def cyclonedx(path):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator
    from packageurl import PackageURL

    text = open(path, encoding="utf-8").read()
    complaint = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert complaint is None, str(complaint)[:2000]
    purls = [PackageURL.from_string(one["purl"]) for one in json.loads(text)["components"] if "purl" in one]
    for purl in purls:
        assert purl.type == "deb" and purl.version, purl
        assert purl.qualifiers.get("distro") and purl.qualifiers.get("arch"), purl
    return (len(purls),)


def envelope(path, public_key):
    from in_toto_attestation.v1.statement import Statement
    from google.protobuf import json_format
    import in_toto_attestation.v1.statement_pb2 as wire
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    content = json.load(open(path, encoding="utf-8"))
    keyid = content["signatures"][0]["keyid"]
    key = SSlibKey(keyid, "ed25519", "ed25519", {"public": public_key})
    Envelope.from_dict(content).verify([key], 1)
    statement = json_format.Parse(base64.b64decode(content["payload"]), wire.Statement())
    Statement.copy_from_pb(statement).validate()
    return (statement.predicate_type, len(statement.subject))


if __name__ == "__main__":
    print(*{"spdx": spdx, "cyclonedx": cyclonedx, "envelope": envelope}[sys.argv[1]](*sys.argv[2:]))
