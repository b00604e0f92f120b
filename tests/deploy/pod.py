"""The pod: the shipped manifest under podman, with volumes that are written as the kubelet writes Secrets."""

import datetime
import http.client
import json
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path


def run(*command, fails=False, **more):
    """Runs a command: what it said. Unless it may fail, it must not."""
    ended = subprocess.run(command, capture_output=True, text=True, **more)
    assert fails or ended.returncode == 0, f"{' '.join(command)}: {ended.stdout}{ended.stderr}"
    return ended.stdout + ended.stderr if fails else ended.stdout


def podman(*words, **more):
    return run("podman", *words, **more)


class Volume:
    """A volume that changes as a Secret does: `..data` is a link to a folder, and is replaced in one step."""

    def __init__(self, name):
        self.name, self.count = name, 0
        podman("volume", "rm", "--force", name, fails=True)
        podman("volume", "create", name)
        self.folder = Path(podman("volume", "inspect", "--format", "{{.Mountpoint}}", name).strip())

    def swap(self, files):
        self.count += 1
        old = [entry for entry in self.folder.iterdir() if entry.name.startswith("..2") or entry.name == "..data"]
        new = self.folder / f"..2026_{self.count}"
        new.mkdir(mode=0o755)
        for name, text in files.items():
            (new / name).write_text(text)
            (new / name).chmod(0o444)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..data_tmp").symlink_to(new.name)
        (self.folder / "..data_tmp").rename(self.folder / "..data")
        for folder in old:
            if not folder.is_symlink():
                shutil.rmtree(folder)

    def remove(self):
        podman("volume", "rm", "--force", self.name, fails=True)


class Pod:
    """The pod of deploy/kubernetes/test/podman. What it leaves is taken away at the end, but for images."""

    name = "api.example.com"

    def __init__(self, root, image, user, group):
        self.scratch = tempfile.TemporaryDirectory(prefix="keygate-deploy-")
        self.manifest = Path(self.scratch.name, "pod.yaml")
        text = run("kubectl", "kustomize", str(root / "deploy/kubernetes/test/podman"))
        text = text.replace("image: localhost/keygate:test", f"image: {image}")
        # Only keygate has a group in the manifest.
        before = "runAsGroup: 65532\n          runAsNonRoot: true\n          runAsUser: 65532"
        assert text.count(before) == 1, text
        text = text.replace(before, before.replace("Group: 65532", f"Group: {group}").replace("User: 65532", f"User: {user}"))
        self.manifest.write_text(text)

    def pods(self):
        """Its name, which depends on the version of podman; nothing if it is not there."""
        return podman("pod", "ps", "--filter", "name=^api-pod", "--format", "{{.Name}}").split()

    def logs(self, *more):
        return "".join(podman("logs", *more, f"{pod}-keygate", fails=True) for pod in self.pods())

    def remove(self):
        for pod in self.pods():
            podman("pod", "rm", "--force", "--time", "0", pod)
        # What podman has made of the ConfigMap.
        for volume in podman("volume", "ls", "--quiet", "--filter", "name=^keygate-config-").split():
            podman("volume", "rm", "--force", volume)

    def __enter__(self):
        self.remove()
        self.keys, self.tls = Volume("keygate-test-keys"), Volume("keygate-test-tls")
        return self

    def __exit__(self, kind, *_):
        if kind:
            print("".join(line for line in self.logs().splitlines(True) if "request_id" not in line))
        self.remove()
        self.keys.remove()
        self.tls.remove()
        self.scratch.cleanup()

    def certificate(self):
        """A new key, and a certificate that clients believe from now on."""
        certificate, key = Path(self.scratch.name, "tls.crt"), Path(self.scratch.name, "tls.key")
        run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test", "-addext", f"subjectAltName=DNS:{self.name}", "-keyout", str(key), "-out", str(certificate))
        self.authority = str(certificate)
        return {"tls.crt": certificate.read_text(), "tls.key": key.read_text()}

    def play(self):
        podman("kube", "play", "--network", "podman", str(self.manifest))
        infra = json.loads(podman("pod", "inspect", self.pods()[0]))["InfraContainerID"]
        (infra,) = json.loads(podman("inspect", infra))
        self.address = infra["NetworkSettings"]["Networks"]["podman"]["IPAddress"]

    def inspect(self, container):
        return json.loads(podman("inspect", f"{self.pods()[0]}-{container}"))[0]

    def ready_after(self):
        """How long keygate took from the start of its container, by its own log."""
        started = datetime.datetime.fromisoformat(self.inspect("keygate")["State"]["StartedAt"][:26] + "+00:00")
        for line in self.logs().splitlines():
            said = json.loads(line)
            if said.get("message") == "keygate is ready":
                when = datetime.datetime.fromisoformat(said["timestamp"].replace("Z", "+00:00"))
                return (when - started).total_seconds()
        raise AssertionError("keygate does not say that it is ready")

    def admin(self, path):
        """Asks the admin door: status and content."""
        connection = http.client.HTTPConnection(self.address, 9901, timeout=5)
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()

    def url(self, path):
        return f"https://{self.name}:8443{path}"

    def resolve(self):
        return ["--resolve", f"{self.name}:8443:{self.address}"]

    def pre_stop(self):
        """Runs the `preStop` of keygate, as the manifest has it."""
        (command,) = re.findall(r"preStop:\n +exec:\n +command:\n((?: +- .*\n)+)", self.manifest.read_text())
        podman("exec", f"{self.pods()[0]}-keygate", *command.replace("- ", "").split())

    def stop(self, seconds):
        """Tells the containers to end, both at once, and kills them after some seconds.

        Not the pod: podman would end its network with it, before they have ended.
        """
        podman("stop", "--time", str(seconds), *(f"{self.pods()[0]}-{name}" for name in ("keygate", "api")))
