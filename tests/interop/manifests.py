"""What is shipped for Kubernetes, Compose and systemd, held against schemas, against one another and against the program."""

import copy
import itertools
import os
import re
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kubernetes_validate
import yaml

ROOT, KEYGATE, VERSION = Path(told["root"]), told["keygate"], told["version"]
KUBERNETES = ROOT / "deploy/kubernetes"
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
MINORS = [".".join(version.split(".")[:2]) for version in kubernetes_validate.utils.all_versions()][-3:]
# Secrets that whoever installs keygate makes.
BROUGHT = {"keygate-keys", "keygate-tls"}
# A Job, a StatefulSet and a DaemonSet that bear the annotation, and a Deployment that does not.
OTHERS = """
apiVersion: batch/v1
kind: Job
metadata: { name: job, annotations: { keygate/inject: "true" } }
spec: { template: { spec: { restartPolicy: Never, initContainers: [{ name: mine, image: a }], containers: [{ name: a, image: a }] } } }
---
apiVersion: apps/v1
kind: StatefulSet
metadata: { name: set, annotations: { keygate/inject: "true" } }
spec:
  serviceName: set
  selector: { matchLabels: { a: b } }
  template:
    metadata: { labels: { a: b } }
    spec: { containers: [{ name: a, image: a, volumeMounts: [{ name: own, mountPath: /own }] }], volumes: [{ name: own, emptyDir: {} }] }
---
apiVersion: apps/v1
kind: DaemonSet
metadata: { name: daemon, annotations: { keygate/inject: "true" } }
spec: { selector: { matchLabels: { a: b } }, template: { metadata: { labels: { a: b } }, spec: { containers: [{ name: a, image: a }] } } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: other }
spec: { selector: { matchLabels: { a: c } }, template: { metadata: { labels: { a: c } }, spec: { containers: [{ name: a, image: a }] } } }
"""


def render(folder):
    """What kubectl makes of a folder: its objects."""
    ended = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert ended.returncode == 0, f"{folder}: {ended.stderr}"
    assert "deprecated" not in ended.stderr, f"{folder}: {ended.stderr}"
    return list(yaml.safe_load_all(ended.stdout))


def render_with(resources, components):
    """What components make of objects that are not ours."""
    with tempfile.TemporaryDirectory(dir=ROOT / "target") as folder:
        Path(folder, "resources.yaml").write_text(resources)
        paths = [os.path.relpath(KUBERNETES / component, folder) for component in components]
        kustomization = {"kind": "Kustomization", "apiVersion": "kustomize.config.k8s.io/v1beta1",
                         "resources": ["resources.yaml"], "components": paths}
        Path(folder, "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        return render(folder)


FOLDERS = sorted(file.parent for file in KUBERNETES.rglob("kustomization.yaml"))
KUSTOMIZATIONS = [folder for folder in FOLDERS if "kind: Kustomization" in (folder / "kustomization.yaml").read_text()]
with ThreadPoolExecutor(4) as pool:
    jobs = {str(folder.relative_to(KUBERNETES)): pool.submit(render, folder) for folder in KUSTOMIZATIONS}
    jobs["others"] = pool.submit(render_with, OTHERS, ["component"])
    jobs["others, classic"] = pool.submit(render_with, OTHERS.split("---", 1)[1], ["component-classic"])
    api = (KUBERNETES / "example/api.yaml").read_text()
    jobs["alone"] = pool.submit(render_with, api, [])
    jobs["classic"] = pool.submit(render_with, api, ["component-classic"])
RENDERED = {name: job.result() for name, job in jobs.items()}


def of_kind(objects, *kinds):
    return [each for each in objects if each["kind"] in kinds]


def template(workload):
    return workload["spec"]["template"]


def containers(pod):
    return pod["spec"].get("initContainers", []) + pod["spec"]["containers"]


def keygate_in(pod):
    found = [container for container in containers(pod) if container["name"] == "keygate"]
    assert len(found) <= 1, found
    return found[0] if found else None


def guarded():
    """Every rendered pod with keygate in it: where, all objects beside it, its workload, its pod."""
    found = []
    for name, objects in RENDERED.items():
        for workload in of_kind(objects, *WORKLOADS):
            if keygate_in(template(workload)):
                found.append((name, objects, workload, template(workload)))
    assert len(found) >= 7, [name for name, *_ in found]
    return found


def selects(labels, pod):
    return labels.items() <= pod["metadata"].get("labels", {}).items()


def seconds(text):
    return sum(int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit] for number, unit in re.findall(r"(\d+)(ms|s|m)", text))


def configuration(objects):
    """The configuration of the rendered ConfigMap, or the shipped one where it comes from elsewhere."""
    for each in of_kind(objects, "ConfigMap"):
        if "keygate.yaml" in each["data"]:
            return each["data"]["keygate.yaml"]
    raise AssertionError("no configuration")


@case
def every_component_is_part_of_something_that_is_rendered():
    used = set()
    for folder in FOLDERS:
        said = yaml.safe_load((folder / "kustomization.yaml").read_text())
        used |= {(folder / path).resolve() for path in said.get("components", [])}
    components = [folder for folder in FOLDERS if folder not in KUSTOMIZATIONS]
    assert len(components) >= 6 and len(KUSTOMIZATIONS) >= 4, FOLDERS
    assert not set(components) - used, set(components) - used


@case
def the_three_newest_minors_of_kubernetes_know_every_field():
    assert len(MINORS) == 3 and [int(minor.split(".")[1]) for minor in MINORS] == sorted(int(m.split(".")[1]) for m in MINORS)
    count = 0
    for name, objects in RENDERED.items():
        for each, minor in itertools.product(objects, MINORS):
            if each["apiVersion"].split("/")[0] in ("cert-manager.io", "monitoring.coreos.com"):
                continue
            if each["kind"].startswith("MutatingAdmissionPolicy") and int(minor.split(".")[1]) < 36:
                continue
            try:
                kubernetes_validate.validate(each, minor, strict=True)
            except Exception as error:
                raise AssertionError(f"{name}, {each['kind']}, {minor}: {error}") from None
            count += 1
    assert count > 50, count


@case
def objects_of_operators_have_no_unknown_field():
    known = {
        "Issuer": {"selfSigned"},
        "Certificate": {"secretName", "dnsNames", "duration", "renewBefore", "usages", "privateKey", "issuerRef"},
        "PodMonitor": {"selector", "podMetricsEndpoints"},
        "PrometheusRule": {"groups"},
    }
    inner = {
        "privateKey": {"algorithm", "size", "rotationPolicy"},
        "issuerRef": {"group", "kind", "name"},
        "podMetricsEndpoints": {"port", "path", "interval", "filterRunning"},
        "selector": {"matchLabels", "matchExpressions"},
        "groups": {"name", "rules", "interval"},
    }
    seen = set()
    for objects in RENDERED.values():
        for each in of_kind(objects, *known):
            seen.add(each["kind"])
            assert set(each) <= {"apiVersion", "kind", "metadata", "spec"}, each
            assert set(each["spec"]) <= known[each["kind"]], each
            for field, names in inner.items():
                values = each["spec"].get(field, [])
                for value in values if isinstance(values, list) else [values]:
                    assert set(value) <= names, (field, value)
    assert seen == set(known), seen


@case
def names_are_names():
    label = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
    for objects in RENDERED.values():
        for each in objects:
            assert label.fullmatch(each["metadata"]["name"]), each["metadata"]
        for workload in of_kind(objects, *WORKLOADS):
            pod = template(workload)
            for kind in (containers(pod), pod["spec"].get("volumes", [])):
                names = [named["name"] for named in kind]
                assert len(set(names)) == len(names) and all(map(label.fullmatch, names)), names
            ports = [port for container in containers(pod) for port in container.get("ports", [])]
            assert len({port["name"] for port in ports}) == len(ports), ports
            assert len({port["containerPort"] for port in ports}) == len(ports), ports
            assert all(label.fullmatch(port["name"]) and len(port["name"]) <= 15 for port in ports), ports


@case
def every_mount_has_its_volume_and_every_volume_its_content():
    for name, objects, _, pod in guarded():
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        mounted = {mount["name"] for container in containers(pod) for mount in container.get("volumeMounts", [])}
        assert mounted == set(volumes), (name, mounted, set(volumes))
        made = {(each["kind"], each["metadata"]["name"]) for each in objects}
        for volume in volumes.values():
            if "configMap" in volume and name not in ("alone", "classic"):
                assert ("ConfigMap", volume["configMap"]["name"]) in made, (name, volume)
            if "secret" in volume:
                assert volume["secret"]["secretName"] in BROUGHT, (name, volume)
        for mount in keygate_in(pod)["volumeMounts"]:
            assert mount["readOnly"] is True and "subPath" not in mount, mount
            source = volumes[mount["name"]].get("secret") or volumes[mount["name"]].get("configMap")
            assert source is None or source["defaultMode"] == 0o444, "any user must be able to read it"
        for container in containers(pod):
            if container["name"] != "keygate":
                for mount in container.get("volumeMounts", []):
                    assert not mount["name"].startswith("keygate-"), "secrets of keygate are in another container"


@case
def keygate_runs_as_the_image_says_and_may_do_nothing():
    image = (ROOT / "Dockerfile").read_text()
    user, group = re.search(r"^USER (\d+):(\d+)$", image, re.M).groups()
    exposed = set(map(int, re.search(r"^EXPOSE (.*)$", image, re.M).group(1).split()))
    for name, _, _, pod in guarded():
        container = keygate_in(pod)
        security = {**pod["spec"].get("securityContext", {}), **container["securityContext"]}
        expected = {"runAsNonRoot": True, "runAsUser": int(user), "runAsGroup": int(group), "readOnlyRootFilesystem": True,
                    "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
                    "seccompProfile": {"type": "RuntimeDefault"}}
        assert security == expected, (name, security)
        assert {port["containerPort"] for port in container["ports"]} == exposed, name
        assert container["image"] == f"localhost/keygate:{'test' if name == 'test/podman' else VERSION}", (name, container["image"])
        assert "cpu" not in container["resources"]["limits"] and container["resources"]["limits"]["memory"], name


@case
def probes_ask_ports_and_paths_that_are_there():
    for name, _, _, pod in guarded():
        container = keygate_in(pod)
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container[probe]["httpGet"]
            assert asked["port"] in ports and asked["port"] == "keygate-admin", (name, asked)
            assert asked["path"] in ("/livez", "/readyz", "/startupz"), (name, asked)
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez", "what is not ready would be killed"
        assert container["startupProbe"]["httpGet"]["path"] == "/startupz", name
        assert container["lifecycle"]["preStop"]["exec"]["command"][1:] == ["drain"], name


@case
def services_and_policies_find_pods_and_ports():
    count = 0
    for name, objects in RENDERED.items():
        pods = [template(workload) for workload in of_kind(objects, *WORKLOADS)]
        if name == "alone":
            continue
        for each in of_kind(objects, "Service", "PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
            spec = each["spec"]
            selector = spec.get("podSelector") or spec["selector"]
            selected = [pod for pod in pods if selects(selector.get("matchLabels", selector), pod)]
            assert selected, (name, each["kind"], selector)
            wanted = [port["targetPort"] for port in spec.get("ports", [])]
            wanted += [endpoint["port"] for endpoint in spec.get("podMetricsEndpoints", [])]
            wanted += [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
            for pod, port in itertools.product(selected, wanted):
                assert port in {known["name"] for known in keygate_in(pod)["ports"]}, (name, each["kind"], port)
            count += 1
        for each in of_kind(objects, "HorizontalPodAutoscaler"):
            (workload,) = [one for one in of_kind(objects, *WORKLOADS)
                           if one["metadata"]["name"] == each["spec"]["scaleTargetRef"]["name"]]
            for metric in each["spec"]["metrics"]:
                of = metric.get("containerResource", metric.get("resource"))
                container = of.get("container", "keygate")
                (scaled,) = [one for one in containers(template(workload)) if one["name"] == container]
                assert of["name"] in scaled["resources"]["requests"], "utilization is that of what is requested"
            count += 1
        for each in of_kind(objects, "Certificate"):
            assert each["spec"]["secretName"] in BROUGHT, each
            assert each["spec"]["issuerRef"]["name"] in {one["metadata"]["name"] for one in of_kind(objects, "Issuer")}, each
    assert count >= 10, count


@case
def the_component_touches_nothing_but_its_own():
    for name in ("example", "classic", "others"):
        for workload in of_kind(RENDERED[name], *WORKLOADS):
            pod = copy.deepcopy(template(workload))
            if not keygate_in(pod):
                assert workload["metadata"]["name"] == "other", workload["metadata"]
                continue
            for list_name in ("initContainers", "containers", "volumes"):
                left = [one for one in pod["spec"].get(list_name, []) if not one["name"].startswith("keygate")]
                pod["spec"].pop(list_name, None)
                if left:
                    pod["spec"][list_name] = left
            del pod["metadata"]["labels"]["keygate/injected"]
            if not pod["metadata"]["labels"]:
                del pod["metadata"]["labels"]
            before = list(yaml.safe_load_all(OTHERS)) if name == "others" else RENDERED["alone"]
            (original,) = [template(one) for one in of_kind(before, workload["kind"])
                           if one["metadata"]["name"] == workload["metadata"]["name"]]
            original = copy.deepcopy(original)
            original.setdefault("metadata", {})
            for volume in original["spec"].get("volumes", []) + pod["spec"].get("volumes", []):
                # The example's own ConfigMap gets its hash there.
                if "configMap" in volume:
                    volume["configMap"]["name"] = re.sub("-[a-z0-9]{10}$", "", volume["configMap"]["name"])
            assert pod == original, (name, pod, original)


@case
def keygate_starts_before_everything_else_and_ends_after_it():
    for name in ("example", "others"):
        for workload in of_kind(RENDERED[name], *WORKLOADS):
            container = keygate_in(template(workload))
            if container:
                assert template(workload)["spec"]["initContainers"][0] is container, "another init container is before it"
                assert container["restartPolicy"] == "Always", container


@case
def both_layouts_and_the_gateway_are_one_container():
    native = copy.deepcopy(keygate_in(template(of_kind(RENDERED["example"], "Deployment")[0])))
    assert native.pop("restartPolicy") == "Always"
    classic = keygate_in(template(of_kind(RENDERED["classic"], "Deployment")[0]))
    assert classic == native, (classic, native)
    alone = keygate_in(template(of_kind(RENDERED["gateway"], "Deployment")[0]))
    for own in ("env", "resources", "securityContext"):
        assert alone.pop(own), own
        native.pop(own)
    assert alone == native, (alone, native)


@case
def a_pod_has_time_to_end():
    for name, objects, workload, pod in guarded():
        said = yaml.safe_load(configuration(objects))["shutdown"]
        delay, timeout = seconds(said["delay"]), seconds(said["timeout"])
        sleeps = [container["lifecycle"]["preStop"]["sleep"]["seconds"] for container in containers(pod)
                  if "sleep" in container.get("lifecycle", {}).get("preStop", {})]
        grace = pod["spec"].get("terminationGracePeriodSeconds", 30)
        assert grace >= max([0, *sleeps]) + delay + timeout + 2, (name, grace)
        if name in ("example", "classic"):
            # In the classic layout both are told to end at once, and keygate goes on for the delay.
            assert sleeps and min(sleeps) > delay, "the API would be gone while keygate still takes requests"


def keygate(*words, **more):
    return subprocess.run([KEYGATE, *words], capture_output=True, text=True, timeout=30, **more)


def environment(container, pod):
    """The variables of a container, as the kubelet fills them in."""
    filled = {}
    for variable in container.get("env", []):
        path = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
        if path is None:
            filled[variable["name"]] = variable["value"]
        elif annotation := re.fullmatch(r"metadata\.annotations\['(.*)'\]", path):
            filled[variable["name"]] = pod["metadata"].get("annotations", {}).get(annotation[1], "")
        else:
            filled[variable["name"]] = {"metadata.name": "pod", "metadata.namespace": "space", "status.podIPs": "192.0.2.1,2001:db8::1"}[path]
    return filled


@case
def the_program_takes_the_configuration_and_finds_its_ports():
    for name, objects, workload, pod in guarded():
        container = keygate_in(pod)
        text = configuration(objects)
        said = yaml.safe_load(text)
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        listening = {"keygate-https": said["listen"]["address"], "keygate-admin": said["admin"]["listen"]}
        for port, address in listening.items():
            # From every address of the pod, whichever family it has.
            assert address == f"[::]:{ports[port]}", (name, address)
        with tempfile.TemporaryDirectory() as folder:
            etc = Path(folder, "etc/keygate")
            for mount in container["volumeMounts"]:
                Path(folder, mount["mountPath"][1:]).mkdir(parents=True)
            (etc / "config/keygate.yaml").write_text(text.replace("/etc/keygate", str(etc)))
            shutil.copy(KUBERNETES / "example/keys.yaml", etc / "keys/keys.yaml")
            for file in ("tls.crt", "tls.key"):
                shutil.copy(Path(told["certificates"], file), etc / "tls" / file)
            config = container["args"][container["args"].index("--config") + 1]
            ended = keygate("check", "--config", folder + config, env=environment(container, pod))
            assert ended.returncode == 0, f"{name}: {ended.stdout}{ended.stderr}"
            assert "warning" not in (ended.stdout + ended.stderr).lower(), f"{name}: {ended.stdout}{ended.stderr}"
            # And it would not do without what it mounts.
            shutil.rmtree(etc / "keys")
            assert keygate("check", "--config", folder + config).returncode == 1, name


def understands(words):
    """Whether the command line is one: a misspelt one ends with 2, one that finds no file or no gateway with 1, or with 78."""
    # Nobody listens at port 1: what is running here must not hear of it.
    nobody = {**os.environ, "KEYGATE_ADMIN": "127.0.0.1:1"}
    ended = keygate(*["/nonexistent" + word if word.startswith("/etc") else word for word in words], env=nobody)
    return ended.returncode in (1, 78), f"{words}: {ended.returncode} {ended.stderr}"


@case
def the_program_takes_its_arguments():
    seen = set()
    for name, _, _, pod in guarded():
        container = keygate_in(pod)
        assert "command" not in container, "the image knows its program"
        seen.add(tuple(container["args"]))
        hook = container.get("lifecycle", {}).get("preStop", {}).get("exec")
        if hook:
            assert hook["command"][0] == "/usr/local/bin/keygate", hook
            seen.add(tuple(hook["command"][1:]))
    for words in seen:
        good, why = understands(words)
        assert good, why
    assert not understands(("run", "--confg", "/etc/keygate/config/keygate.yaml"))[0]


def write_or_compare(path, text):
    if told["update"]:
        path.write_text(text)
    assert path.read_text() == text, f"{path} is out of date: KEYGATE_UPDATE=1 cargo test --test interop manifests"


@case
def the_prometheus_rule_is_the_shipped_rules():
    path = KUBERNETES / "components/monitoring/prometheusrule.yaml"
    head = path.read_text().partition("\nspec:\n")[0]
    rules = (ROOT / "deploy/prometheus/keygate.rules.yaml").read_text()
    write_or_compare(path, head + "\nspec:\n" + re.sub("^(?=.)", "  ", rules, flags=re.M))
    assert yaml.safe_load(path.read_text())["spec"] == yaml.safe_load(rules)


@case
def rules_name_metrics_that_are_there():
    documented = set(re.findall(r"`(keygate_\w+|process_\w+)`", (ROOT / "docs/metrics.md").read_text()))
    assert len(documented) > 30, documented
    rules = yaml.safe_load((ROOT / "deploy/prometheus/keygate.rules.yaml").read_text())
    recorded = {rule.get("record") for group in rules["groups"] for rule in group["rules"]}
    named = {name for group in rules["groups"] for rule in group["rules"] for name in re.findall(r"\bkeygate_\w+", rule["expr"])}
    assert named
    # It is there with `traces` only.
    for name in named - recorded:
        assert re.sub("_(bucket|sum|count)$", "", name) in documented or name in documented, name


PLAIN_MAPS = ("requests", "limits")


def in_cel(value, kind, depth=0):
    """A value in the words of CEL, whose objects are called after their place: `Object.spec.volumes{ name: "a" }`."""
    inner, end = "  " * (depth + 1), "  " * depth
    if isinstance(value, dict):
        plain = kind.rsplit(".", 1)[1] in PLAIN_MAPS
        fields = [f"{inner}{json.dumps(name) if plain else name}: {in_cel(field, kind + '.' + name, depth + 1)}"
                  for name, field in value.items()]
        return ("" if plain else kind) + "{\n" + ",\n".join(fields) + "\n" + end + "}"
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return "[\n" + ",\n".join(inner + in_cel(item, kind, depth + 1) for item in value) + "\n" + end + "]"
    return json.dumps(value)


@case
def injection_adds_what_the_component_adds():
    path = KUBERNETES / "injection/policy.yaml"
    spec = yaml.safe_load((KUBERNETES / "component/sidecar.yaml").read_text())["spec"]["template"]["spec"]
    (container,) = spec["initContainers"]

    def add(path, value):
        return f'[JSONPatch{{op: "add", path: {path}, value: {value}}}]'

    def unless_there(name):
        return f"(has(object.spec.{name}) ? [] : {add(json.dumps('/spec/' + name), '[]')})"

    steps = [unless_there("initContainers"), add('"/spec/initContainers/0"', in_cel(container, "Object.spec.initContainers"))]
    steps.append(unless_there("volumes"))
    steps += [add('"/spec/volumes/-"', in_cel(volume, "Object.spec.volumes")) for volume in spec["volumes"]]
    steps.append(add('"/metadata/labels/" + jsonpatch.escapeKey("keygate/injected")', '"true"'))
    expression = "\n+ ".join(steps) + "\n"
    before, mark, after = path.read_text().partition("expression: |\n")
    _, separator, binding = after.partition("---\n")
    write_or_compare(path, before + mark + re.sub("^(?=.)", " " * 10, expression, flags=re.M) + separator + binding)
    policy = yaml.safe_load(path.read_text().split("---")[0])["spec"]
    assert policy["mutations"][0]["jsonPatch"]["expression"] == expression
    assert policy["failurePolicy"] == "Fail", "a pod would start without keygate, and be open"


@case
def compose_runs_keygate_as_the_manifests_do():
    services = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
    service, example = services["keygate"], keygate_in(template(of_kind(RENDERED["example"], "Deployment")[0]))
    assert service["image"] == example["image"] and service["command"] == example["args"]
    security = example["securityContext"]
    assert service["user"] == f"{security['runAsUser']}:{security['runAsGroup']}", service["user"]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert understands(service["healthcheck"]["test"][2:])[0], service["healthcheck"]
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert sorted(mounts.values()) == sorted(mount["mountPath"] for mount in example["volumeMounts"]), mounts
    assert all(volume.endswith(":ro") for volume in service["volumes"])
    (config,) = [path for path, mounted in mounts.items() if mounted == "/etc/keygate/config"]
    said = yaml.safe_load((ROOT / config / "keygate.yaml").read_text())
    assert seconds(service["stop_grace_period"]) > seconds(said["shutdown"]["delay"]) + seconds(said["shutdown"]["timeout"])
    # The API is reached through keygate or not at all.
    shared = set(service["networks"]) & set(services["api"]["networks"])
    assert shared == set(services["api"]["networks"]) == {"guarded"} and "ports" not in services["api"]


@case
def systemd_understands_the_unit_and_finds_it_hardened():
    text = (ROOT / "deploy/systemd/keygate.service").read_text()
    commands = re.findall(r"^Exec(?:Start|StartPre)=/usr/local/bin/keygate (.*)$", text, re.M)
    assert len(commands) == 2, commands
    for command in commands:
        good, why = understands(command.split())
        assert good, why
    with tempfile.TemporaryDirectory() as folder:
        unit = Path(folder, "keygate.service")
        # Neither the program nor its manual page is installed where this is run.
        unit.write_text(re.sub("^Documentation=.*\n", "", text.replace("/usr/local/bin/keygate", KEYGATE), flags=re.M))
        said = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
        about = [line for line in said.stderr.splitlines() if "keygate" in line]
        assert said.returncode == 0 and not about, said.stderr
        said = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=20", str(unit)],
                              capture_output=True, text=True)
        assert said.returncode == 0, said.stdout[-200:] + said.stderr


run()
