"""sslyze looks at a door, and holds what it finds against what Mozilla recommends."""

import json
import sys
from pathlib import Path

import sslyze
from sslyze.mozilla_tls_profile.tls_config_checker import (
    MozillaTlsConfiguration,
    ServerNotCompliantWithTlsConfiguration,
    TlsConfigurationEnum,
    check_server_against_tls_configuration,
)

told = json.load(sys.stdin)
host, port = told["to"].split(":")

scanner = sslyze.Scanner()
location = sslyze.ServerNetworkLocation(host, int(port), ip_address="127.0.0.1")
commands = {
    each for each in sslyze.ScanCommand
    # What the upstream says in its fields is the upstream's.
    if each is not sslyze.ScanCommand.HTTP_HEADERS
}
own = sslyze.CertificateInfoExtraArgument(custom_ca_file=Path(told["ca"]))
scanner.queue_scans([
    sslyze.ServerScanRequest(location, scan_commands=commands, scan_commands_extra_arguments=sslyze.ScanCommandsExtraArguments(certificate_info=own))
])
[found] = list(scanner.get_results())
assert found.scan_result is not None, found
of = found.scan_result
errors = [name for name, attempt in vars(of).items() if name != "http_headers" and attempt.status is not sslyze.ScanCommandAttemptStatusEnum.COMPLETED]

issues = {}
try:
    check_server_against_tls_configuration(found, MozillaTlsConfiguration.get(TlsConfigurationEnum(told["level"])))
except ServerNotCompliantWithTlsConfiguration as error:
    issues = dict(error.issues)
# The authority is ours and in no store; that it signed what is shown is known by another way.
issues.pop("certificate_path_validation", None)
[trusted] = [
    each for each in of.certificate_info.result.certificate_deployments[0].path_validation_results
    if each.trust_store.path == Path(told["ca"])
]
assert trusted.was_validation_successful, trusted

suites = {
    name: [each.cipher_suite.name for each in getattr(of, name + "_cipher_suites").result.accepted_cipher_suites]
    for name in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2", "tls_1_3")
}
resumption = of.session_resumption.result
json.dump({
    "issues": issues,
    "errors": errors,
    "versions": [name.replace("_", " ", 1).replace("_", ".").upper() for name, accepted in suites.items() if accepted],
    "suites": sorted(sum(suites.values(), [])),
    "curves": [curve.name for curve in of.elliptic_curves.result.supported_curves],
    "compression": of.tls_compression.result.supports_compression,
    "early_data": of.tls_1_3_early_data.result.supports_early_data,
    "heartbleed": of.heartbleed.result.is_vulnerable_to_heartbleed,
    "ccs_injection": of.openssl_ccs_injection.result.is_vulnerable_to_ccs_injection,
    "client_renegotiation": of.session_renegotiation.result.is_vulnerable_to_client_renegotiation_dos,
    "secure_renegotiation": of.session_renegotiation.result.supports_secure_renegotiation,
    "fallback_scsv": of.tls_fallback_scsv.result.supports_fallback_scsv,
    "extended_master_secret": of.tls_extended_master_secret.result.supports_ems_extension,
    "robot": of.robot.result.robot_result.name,
    # It takes a ticket that was renewed for one that was refused, and so is no witness of tickets.
    "resumed": [resumption.session_id_successful_resumptions_count, resumption.session_id_attempted_resumptions_count],
}, sys.stdout)
