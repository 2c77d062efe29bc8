"""How faithful is the load generator, beside the tools one would otherwise pick? Prints the tables of the docs.

    python benchmarks/studies/loadgen_fidelity.py [--parts abcd] [--seconds 10] [--only TEXT]

Every tool runs against the same servers on this machine, one after another:

(a) a null server (nginx where it is installed, else a minimal asyncio one): the rate a tool reaches with 16
    connections, what a request costs it in CPU, and how late requests leave;
(b) a server that answers after exactly 5 ms but stands still for 500 ms, five seconds after its first request: what
    each tool reports as p50, p99 and p99.9 of 200 requests per second, beside the truth for independent users.
(c) the null server again, this generator alone: how CPU and memory per request grow with the rate and with n;
(d) a server that keeps every core busy while it answers: how late requests leave then, and what share of the latency
    that is.

A tool that is not installed is named and left out. CPU is user plus system time of the tool's processes, its start
included; read it from the runs with many requests. Memory is the growth of the peak resident size of both processes
of the generator over that of a run of 1,000 requests, the list of payloads included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import csv
import importlib.util
import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pytest_inferbench.loadgen import LoadGenerator, Target
from pytest_inferbench.loadgen.pacing import exact_event_loop
from pytest_inferbench.workload.arrivals import Poisson, Schedule

LAW_SECONDS, STALL_AFTER, STALL_SECONDS, LAW_RATE = 0.005, 5.0, 0.5, 200
CONNECTIONS = 16
BODY = {"text": "a sentence of ordinary length, as a client would send it"}
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"label":"positive"}'
NGINX = """worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{
    default_type application/json; return 200 '{{"label":"positive"}}'; }} }} }}
"""
LOCUSTFILE = """
from locust import FastHttpUser, constant_throughput, task
class User(FastHttpUser):
    {wait}
    @task
    def classify(self):
        self.client.post("/", json={body})
"""
WRK_LUA = """wrk.method = "POST"; wrk.body = '{body}'; wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency, requests)
  io.write(string.format("P %f %f %f %f\\n", summary.requests / summary.duration * 1e6, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, latency:percentile(99.9) / 1000)) end
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool said of one run: milliseconds, per second, microseconds; NaN where it says nothing."""

    rate: float
    p50: float
    p99: float
    p999: float
    delay_p50: float = float("nan")
    delay_p99: float = float("nan")
    n: int = 0


# --- servers ---------------------------------------------------------------------------------------------------------


class Null(asyncio.Protocol):
    """Answers each whole request at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            length = re.search(rb"(?i)content-length: *(\d+)", self.buffer[:end])
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.buffer) < whole:
                return
            self.buffer = self.buffer[whole:]
            self.answer()

    def answer(self) -> None:
        self.transport.write(ANSWER)


class Law(Null):
    """Answers after exactly the law's time; the whole server stands still once."""

    began = False

    def answer(self) -> None:
        loop = asyncio.get_running_loop()
        if not Law.began:
            Law.began = True
            loop.call_later(STALL_AFTER, time.sleep, STALL_SECONDS)
        loop.call_later(LAW_SECONDS, self.transport.write, ANSWER)


class Busy(Null):
    """Answers after 20 ms of CPU time; two processes of it share one port, so that no core is left."""

    def answer(self) -> None:
        asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        self.transport.write(ANSWER)


async def serve(protocol: type[Null], port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", port, backlog=4096, reuse_port=protocol is Busy)
    await server.serve_forever()


def end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(0)


@contextlib.contextmanager
def running(command: list[str], port: int) -> Iterator[str]:
    """Run a server until the block ends; yields its URL."""
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            for _ in range(200):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.05)
            else:
                raise SystemExit(f"the server did not start: {command}")
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def null_server() -> Iterator[str]:
    port = free_port()
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        print("nginx is not installed: the null server is an asyncio one\n")
        with running([sys.executable, __file__, "--serve", "Null", str(port)], port) as url:
            yield url
        return
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        configuration = Path(folder, "nginx.conf")
        configuration.write_text(NGINX.format(folder=folder, port=port))
        with running([nginx, "-c", str(configuration)], port) as url:
            yield url


@contextlib.contextmanager
def law_server() -> Iterator[str]:
    port = free_port()
    with running([sys.executable, __file__, "--serve", "Law", str(port)], port) as url:
        yield url


# --- tools -----------------------------------------------------------------------------------------------------------


def percentiles(latencies_ms: np.ndarray) -> tuple[float, float, float]:
    p50, p99, p999 = np.quantile(latencies_ms, [0.5, 0.99, 0.999])
    return float(p50), float(p99), float(p999)


def inferbench(url: str, seconds: float, rate: float | None) -> Row:
    generator = LoadGenerator(Target(url, timeout=20))
    if rate is None:
        n = round(8000 * seconds)
        run = asyncio.run(generator.issue_closed([BODY] * n, concurrency=CONNECTIONS))
    else:
        schedule = Poisson(rate).schedule(seconds, seed=1)
        run = asyncio.run(generator.issue(schedule, [BODY] * len(schedule)))
    delay = run.issue_delay_ns / 1e6
    last = run.completed_ns.max() if rate is None else run.issued_ns.max()
    issued = (run.issued_ns >= 0).sum() / ((last - run.scheduled_ns[0]) / 1e9)
    late = (float(np.quantile(delay, 0.5)), float(np.quantile(delay, 0.99))) if rate else (float("nan"),) * 2
    return Row(float(issued), *percentiles(run.latencies * 1e3), *late, n=len(run))


def naive(client: str) -> Callable[[str, float, float | None], Row]:
    """Return what people write with httpx or aiohttp, in a process of its own."""

    def tool(url: str, seconds: float, rate: float | None) -> Row:
        command = [sys.executable, __file__, "--naive", client, url, str(seconds), str(rate or 0)]
        return Row(**json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))

    return tool


async def naive_main(client: str, url: str, seconds: float, rate: float) -> Row:
    """Sleep a gap, start a task, take the time around the call: open loop by intent. Rate 0: 16 users in a loop."""
    sent: list[float] = []
    latencies: list[float] = []
    if client == "httpx":
        import httpx

        session = httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_connections=None))

        async def post() -> None:
            await session.post(url, json=BODY)
    else:
        import aiohttp

        http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

        async def post() -> None:
            async with http.post(url, json=BODY) as response:
                await response.read()

    async def one() -> None:
        begin = time.perf_counter()
        sent.append(begin)
        await post()
        latencies.append((time.perf_counter() - begin) * 1e3)

    async def user(end: float) -> None:
        while time.perf_counter() < end:
            await one()

    start = time.perf_counter()
    if not rate:
        await asyncio.gather(*(user(start + seconds) for _ in range(CONNECTIONS)))
        late = np.array([np.nan])
    else:
        offsets = Poisson(rate).schedule(seconds, seed=1).offsets_ns / 1e9
        tasks = []
        for gap in np.diff(offsets, prepend=0):
            await asyncio.sleep(gap)
            tasks.append(asyncio.create_task(one()))
        await asyncio.gather(*tasks)
        late = (np.array(sent) - start - offsets) * 1e3
    span = max(sent) - start
    delays = [float(np.quantile(late, q)) for q in (0.5, 0.99)]
    return Row(len(sent) / span, *percentiles(np.array(latencies)), *delays, n=len(sent))


def locust(url: str, seconds: float, rate: float | None) -> Row:
    users = CONNECTIONS if rate is None else 10
    wait = "" if rate is None else f"wait_time = constant_throughput({rate / users})"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "locustfile.py").write_text(LOCUSTFILE.format(wait=wait, body=BODY))
        command = ["locust", "-f", f"{folder}/locustfile.py", "--headless", "-H", url.rstrip("/"), "-u", str(users)]
        command += ["-r", str(users), "-t", f"{seconds:.0f}s", "--csv", f"{folder}/out", "--only-summary"]
        subprocess.run(command, check=True, capture_output=True)
        with Path(folder, "out_stats.csv").open() as lines:
            row = next(r for r in csv.DictReader(lines) if r["Name"] == "Aggregated")
    figures = [float(row[key]) if row[key] != "N/A" else float("nan") for key in ("50%", "99%", "99.9%")]
    return Row(float(row["Requests/s"]), *figures, n=int(row["Request Count"]))


def wrk(url: str, seconds: float, rate: float | None) -> Row:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_LUA.format(body=json.dumps(BODY)))
        script.flush()
        connections = CONNECTIONS if rate is None else 10
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "-s", script.name, url]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done, total = re.search(r"^P (.*)$", said, re.M), re.search(r"(\d+) requests in", said)
    assert done is not None
    assert total is not None
    return Row(*map(float, done[1].split()), n=int(total[1]))


def hey(url: str, seconds: float, rate: float | None) -> Row:
    users = CONNECTIONS if rate is None else 10
    command = ["hey", "-z", f"{seconds:.0f}s", "-c", str(users), "-m", "POST", "-d", json.dumps(BODY)]
    command += [] if rate is None else ["-q", str(rate / users)]
    said = subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout
    found = {q: float(v) * 1e3 for q, v in re.findall(r"(\d+)%+ in ([\d.]+) secs", said)}
    done = re.search(r"Requests/sec:\s+([\d.]+)", said)
    total = re.search(r"\[200\]\s+(\d+)", said)
    assert done is not None
    assert total is not None
    return Row(float(done[1]), found["50"], found.get("99", float("nan")), float("nan"), n=int(total[1]))


def autocannon(url: str, seconds: float, rate: float | None) -> Row:
    users = CONNECTIONS if rate is None else 10
    command = ["autocannon", "-c", str(users), "-d", f"{seconds:.0f}", "-m", "POST", "-b", json.dumps(BODY), "-j"]
    command += [] if rate is None else ["-R", f"{rate:.0f}"]
    said = json.loads(subprocess.run([*command, url], check=True, capture_output=True, text=True).stdout)
    law = said["latency"]
    return Row(said["requests"]["average"], law["p50"], law["p99"], law["p99_9"], n=said["requests"]["total"])


# --- tables ----------------------------------------------------------------------------------------------------------

Tool = Callable[[str, float, float | None], Row]
TOOLS: tuple[tuple[str, Tool, Callable[[], object]], ...] = (
    ("pytest-inferbench", inferbench, lambda: True),
    ("httpx, naive", naive("httpx"), lambda: importlib.util.find_spec("httpx")),
    ("aiohttp, naive", naive("aiohttp"), lambda: importlib.util.find_spec("aiohttp")),
    ("Locust FastHttpUser", locust, lambda: shutil.which("locust")),
    ("hey", hey, lambda: shutil.which("hey")),
    ("autocannon", autocannon, lambda: shutil.which("autocannon")),
    ("wrk", wrk, lambda: shutil.which("wrk")),
)


def cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def shown(value: float, digits: int = 2) -> str:
    return "–" if np.isnan(value) else f"{value:,.{digits}f}"


def truth() -> tuple[float, float, float]:
    """Latencies of independent users over ten seconds, from the law alone."""
    due = np.linspace(0, 10, 1_000_000, endpoint=False)
    done = due + LAW_SECONDS
    stalled = (done > STALL_AFTER) & (due < STALL_AFTER + STALL_SECONDS)
    # What arrives while the server stands still is taken up at the end of the stall; what was in service ends then.
    late = np.where(due < STALL_AFTER, 0, LAW_SECONDS)
    done = np.where(stalled, STALL_AFTER + STALL_SECONDS + late, done)
    return percentiles((done - due) * 1e3)


def null_table(present: list[tuple[str, Tool]], seconds: float) -> None:
    print("(a) null server; closed loop: 16 connections, as fast as they go; open loop: Poisson at the rate named\n")
    print("| tool | loop | n | issued/s | CPU per request, µs | issue delay p50, ms | p99 | latency p50, ms | p99 |")
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|")
    open_loop_tools = {"pytest-inferbench": (1000, 7500), "httpx, naive": (200, 1000), "aiohttp, naive": (1000, 7500)}
    with null_server() as url:
        for name, tool in present:
            for rate in (None, *open_loop_tools.get(name, ())):
                before = cpu_seconds()
                row = tool(url, seconds, rate)
                cost = (cpu_seconds() - before) / row.n * 1e6
                cells = [shown(row.rate, 0), shown(cost, 0), shown(row.delay_p50, 3), shown(row.delay_p99, 3)]
                cells += [shown(row.p50), shown(row.p99)]
                loop = "closed" if rate is None else f"open, {rate:,}/s"
                print(f"| {name} | {loop} | {row.n:,} | {' | '.join(cells)} |", flush=True)


def stall_table(present: list[tuple[str, Tool]]) -> None:
    print("\n(b) 5 ms per answer and one stall of 500 ms; 200 requests/s for 10 s (10 connections where closed)\n")
    print("| tool | n | reported p50, ms | p99 | p99.9 |")
    print("|---|--:|--:|--:|--:|")
    print(f"| **truth** | | {' | '.join(shown(v, 1) for v in truth())} |")
    for name, tool in present:
        with law_server() as url:
            row = tool(url, 10.0, LAW_RATE)
        print(f"| {name} | {row.n:,} | {shown(row.p50, 1)} | {shown(row.p99, 1)} | {shown(row.p999, 1)} |", flush=True)


def cost(url: str, rate: float, n: int) -> dict[str, float]:
    """One open-loop run of ``n`` requests at ``rate`` in this process: what it took, in seconds and bytes."""
    schedule = Schedule(Poisson(rate).schedule(1.1 * n / rate + 1, seed=1).offsets_ns[:n], seed=1)
    run = asyncio.run(LoadGenerator(Target(url, timeout=20)).issue(schedule, [BODY] * n))
    memory = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    delay = run.issue_delay_ns / 1e6
    asked = n / (schedule.offsets_ns[-1] / 1e9)
    got = int((run.issued_ns >= 0).sum()) / ((run.issued_ns.max() - run.scheduled_ns[0]) / 1e9)
    return {"cpu": cpu_seconds(), "memory": memory * 1024, "p50": float(np.quantile(delay, 0.5)),
            "p99": float(np.quantile(delay, 0.99)), "issued": float((run.issued_ns >= 0).mean()),
            "kept": got / asked, "failed": float(run.error_rate)}  # fmt: skip


def cost_table(seconds: float) -> None:
    print("\n(c) this generator: cost by rate and by n (null server, Poisson, open loop)\n")
    print("| rate/s | n | achieved rate | failed | CPU per request, µs | memory per request, B | delay p50, ms | p99 |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    with null_server() as url:

        def measure(rate: float, n: int) -> dict[str, float]:
            command = [sys.executable, __file__, "--cost", url, str(rate), str(n)]
            said: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            return said

        start = measure(1000, 1000)
        plan = [(rate, round(rate * seconds)) for rate in (500, 1000, 2000, 4000, 7500, 9000)]
        for rate, n in [*plan, (8000, 10_000), (8000, 100_000), (8000, 1_000_000)]:
            row = measure(rate, n)
            grown = (row["memory"] - start["memory"]) / n
            cells = [f"{row['kept']:.2%}", f"{row['failed']:.3%}", shown(row["cpu"] / n * 1e6, 0)]
            cells += [shown(grown, 0) if n >= 50_000 else "–", shown(row["p50"], 3), shown(row["p99"], 3)]
            print(f"| {rate:,} | {n:,} | {' | '.join(cells)} |", flush=True)


def busy_table(seconds: float) -> None:
    """The generator beside a service that takes every core: each request is 20 ms of work in one of two processes."""
    print("\n(d) a service that keeps every core busy: 20 ms of CPU per request on each of two processes\n")
    print("| rate/s | n | issue delay p50, ms | p95 | p99 | latency p50, ms | p95 | p99 | delay/latency p50 | p99 |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    port = free_port()
    with running([sys.executable, __file__, "--serve", "Busy", str(port)], port) as url:
        for rate in (10, 50, 70):
            schedule = Poisson(rate).schedule(seconds, seed=1)
            run = asyncio.run(LoadGenerator(Target(url, timeout=20)).issue(schedule, [BODY] * len(schedule)))
            late = np.quantile(run.issue_delay_ns / 1e6, [0.5, 0.95, 0.99])
            waited = np.quantile(run.latencies * 1e3, [0.5, 0.95, 0.99])
            cells = [shown(v) for v in (*late, *waited)] + [f"{late[i] / waited[i]:.1%}" for i in (0, 2)]
            print(f"| {rate} | {len(run):,} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each run but those of (b)")
    parser.add_argument("--only", default="", help="only tools whose name contains this")
    parser.add_argument("--parts", default="abcd", help="which tables")
    options = parser.parse_args()
    present = [(name, tool) for name, tool, installed in TOOLS if options.only in name and installed()]
    for name, _, installed in TOOLS:
        if not installed():
            print(f"{name} is not installed: left out")
    print(
        f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load average {os.getloadavg()[0]:.1f} at the start\n"
    )
    if "a" in options.parts:
        null_table(present, options.seconds)
    if "b" in options.parts:
        stall_table(present)
    if "c" in options.parts:
        cost_table(options.seconds)
    if "d" in options.parts:
        busy_table(options.seconds)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--serve", name, port]:
            parent = os.getpid()
            if name == "Busy" and os.fork() == 0:
                threading.Thread(target=end_with, args=(parent,), daemon=True).start()
            with asyncio.Runner(loop_factory=exact_event_loop) as runner, contextlib.suppress(KeyboardInterrupt):
                runner.run(serve({"Null": Null, "Law": Law, "Busy": Busy}[name], int(port)))
        case ["--cost", url, rate, n]:
            print(json.dumps(cost(url, float(rate), int(n))))
        case ["--naive", client, url, seconds, rate]:
            result = asyncio.run(naive_main(client, url, float(seconds), float(rate)))
            print(json.dumps({name: getattr(result, name) for name in Row.__dataclass_fields__}))
            os._exit(0)
        case _:
            main()
