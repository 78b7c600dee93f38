"""A stack with a SIP edge in front of it, brought up once for all."""

import itertools
from collections.abc import Iterator

import docker
import pytest
import trustme

from deploy.local.stack import Stack
from tests.sip.edge import HOST, Edge, Sipp, agreeing_server, build_images
from tests.sip.office import Office
from tests.sip.wire import Wire

_numbers = itertools.count()


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of processes of its own."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("LCS_AMQP_URL", raising=False)
        environment.delenv("LCS_DATABASE_URL", raising=False)
        one = Stack(tmp_path_factory.mktemp("stack"), front_ends=1, say=lambda _: None)
    try:
        one.start()
        yield one
    finally:
        one.clean()  # at once: nothing of it is needed any more
        one.stop()


@pytest.fixture(scope="package")
def authority() -> trustme.CA:
    """Who certifies those that federate."""
    return trustme.CA()


@pytest.fixture(scope="package")
def edges(
    stack: Stack, engine: docker.DockerClient, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Edge, Edge]]:
    """The edges of contoso.com, which is ours, and of fabrikam.com, a partner that archives nothing."""
    build_images(engine)
    folder = tmp_path_factory.mktemp("edges")
    token = (stack.folder / "secrets" / "edge" / "token").read_text()
    ours, partner = (Edge(engine, folder / domain, domain) for domain in ("contoso.com", "fabrikam.com"))
    with agreeing_server() as agree:
        try:
            for one, other, hook in (
                (ours, partner, f"{stack.front_end_urls[0]}/v1/sip"),
                (partner, ours, agree),
            ):
                one.certify(authority)
                to_other = f"{other.domain}=sip:{HOST}:{other.tls_port};transport=tls"
                one.start(hook, token, LCS_SIP_PARTNERS=to_other)
            yield ours, partner
        finally:
            ours.stop()
            partner.stop()


@pytest.fixture(scope="package")
def edge(edges: tuple[Edge, Edge]) -> Edge:
    """The edge of contoso.com."""
    return edges[0]


@pytest.fixture(scope="package")
def partner(edges: tuple[Edge, Edge]) -> Edge:
    """The edge of fabrikam.com."""
    return edges[1]


@pytest.fixture(scope="package")
def _sipp(edge: Edge, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sipp]:
    one = Sipp(edge.engine, tmp_path_factory.mktemp("sipp"))
    yield one
    one.stop()


@pytest.fixture
def sipp(_sipp: Sipp) -> Iterator[Sipp]:
    """Run sipp's scenarios; end those that answer after the test."""
    yield _sipp
    _sipp.hang_up()


@pytest.fixture
def office(stack: Stack, edge: Edge, sipp: Sipp) -> Iterator[Office]:
    """A test's own people."""
    one = Office(stack, edge, sipp, next(_numbers))
    yield one
    one.close()


@pytest.fixture
def pair(office: Office, edge: Edge) -> Iterator[tuple[Wire, Wire]]:
    """Clients of yannis and of ada, registered, that show what came byte for byte."""
    clients = Wire(edge, office.yannis), Wire(edge, office.ada)
    for client in clients:
        client.register()
    yield clients
    for client in clients:
        client.close()
