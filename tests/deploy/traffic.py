"""Clients: single requests, and constant traffic as a load balancer sends it."""

import http.client
import socket
import ssl
import threading
import time

PATIENCE = 30


class Connection(http.client.HTTPSConnection):
    """A connection to the pod that believes the certificate's authority, by the certificate's name."""

    def __init__(self, pod):
        super().__init__(pod.name, 8443, timeout=PATIENCE, context=ssl.create_default_context(cafile=pod.authority))
        self.pod = pod

    def connect(self):
        plain = socket.create_connection((self.pod.address, self.port), timeout=PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)


def get(pod, path, key, connection=None):
    """One request: status and content."""
    connection = connection or Connection(pod)
    connection.request("GET", path, headers={"X-API-Key": key} if key else {})
    response = connection.getresponse()
    return response.status, response.read()


def ask(pod, key):
    """One request, of which only the status matters."""
    return get(pod, "/", key)[0]


def status(question, path):
    """The status of an answer, or None where there is none yet."""
    try:
        return question(path)[0]
    except OSError:
        return None


class Traffic:
    """What a load balancer sends to one pod. It asks /readyz four times a second, and hears no after four in a row."""

    def __init__(self, pod, key, threads):
        self.pod, self.key = pod, key
        self.ready, self.unready, self.ending = True, False, False
        self.done, self.done_unready, self.failed = 0, 0, []
        self.lock = threading.Lock()
        self.workers = [threading.Thread(target=self.send, args=(number,)) for number in range(threads)]
        self.watcher = threading.Thread(target=self.watch)

    def start(self):
        for thread in [self.watcher, *self.workers]:
            thread.start()

    def stop(self):
        self.ending = True
        for thread in [self.watcher, *self.workers]:
            thread.join()

    def watch(self):
        wrong = 0
        while not self.ending and wrong < 4:
            wrong = 0 if status(self.pod.admin, "/readyz") == 200 else wrong + 1
            self.unready = wrong > 0
            time.sleep(0.25)
        self.ready = False

    def send(self, number):
        connection = None
        while self.ready and not self.ending:
            unready = self.unready
            try:
                # Every other worker opens a connection for each request.
                if connection is None or number % 2:
                    connection = Connection(self.pod)
                answer = get(self.pod, f"/{number}", self.key, connection)
                wrong = None if answer == (200, f"/{number}\n".encode()) else answer
            except (OSError, http.client.HTTPException) as error:
                connection, wrong = None, repr(error)
            with self.lock:
                self.done += 1
                self.done_unready += unready
                if wrong:
                    self.failed.append(wrong)
            time.sleep(0.005)
