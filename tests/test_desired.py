"""Loading: what a desired tree comes to, and the sentence for every fault in it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kbstate.desired import Desired, Host, load
from kbstate.errors import CredentialError, DesiredError, DesiredErrors, UsageError
from kbstate.kinds.file import File
from kbstate.kinds.firewall import Firewall
from kbstate.kinds.package import Package
from kbstate.kinds.service import Service
from kbstate.resource import Resource

Tree = Callable[..., Desired]

TWO = """
from kbstate import Host
from role import resources
def hosts(site):
    for n in (1, 2):
        yield Host(name=f"web-0{n}", address=f"10.0.0.{n}", modules={"base": resources(site)})
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """Writes files of a desired tree, below a working directory, and loads it."""
    monkeypatch.chdir(tmp_path)

    def make(hosts: str = TWO, directory: str = "desired", **files: str) -> Desired:
        path = tmp_path / directory
        path.mkdir(exist_ok=True)
        for name, text in {"hosts": hosts, **files}.items():
            (path / f"{name}.py").write_text(text)
        return load(Path(directory), tmp_path / "credentials")

    return make


def role(expression: str) -> str:
    return f"from kbstate import *\ndef resources(site):\n    return {expression}\n"


def fault(tree: Tree, expression: str) -> str:
    """The one error of a role, which stands in desired/role.py:3."""
    with pytest.raises(DesiredError) as caught:
        tree(role=role(expression))
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return str(caught.value)


def test_a_tree(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    loaded = tree(
        role=role('[File(path="/etc/kb.conf", content="a"), Service(name="kb", restart_on=("file:/etc/kb.conf",))]')
    )
    assert [host.name for host in loaded.hosts] == ["web-01", "web-02"]
    file, service = loaded.hosts[0].declared
    assert (file.resource.address, file.module) == ("file:/etc/kb.conf", "base")
    assert isinstance(service.resource, Service)
    assert service.resource.start_files, "the service is bound to its file"
    assert loaded.hosts[0].lookup("service:kb.service") is service.resource
    assert loaded.hosts[0].lookup("service:other.service") is None
    assert str(file.resource.where) == f"{tmp_path}/desired/role.py:3"
    assert not list(tmp_path.rglob("__pycache__"))


def test_select(tree: Tree) -> None:
    loaded = tree(role=role("[]"))
    assert loaded.select(()) == loaded.hosts
    assert [host.name for host in loaded.select(["web-02", "web-02"])] == ["web-02"]
    with pytest.raises(UsageError, match=r"^there is no host 'web-1' in desired: did you mean web-01"):
        loaded.select(["web-1"])


def test_loads_do_not_see_each_other(tree: Tree) -> None:
    before = dict(sys.modules), list(sys.path), sys.dont_write_bytecode
    first = tree(role=role('[File(path="/one", content="1")]'))
    again = tree(role=role('[File(path="/two", content="2")]'))
    other = tree(directory="other", role=role('[File(path="/three", content="3")]'))
    addresses = [d.hosts[0].declared[0].resource.address for d in (first, again, other)]
    assert addresses == ["file:/one", "file:/two", "file:/three"]
    assert "role" not in sys.modules
    assert "hosts" not in sys.modules
    assert (list(sys.path), sys.dont_write_bytecode) == before[1:]
    assert all(sys.modules.get(name) is module for name, module in before[0].items())


def test_a_module_of_the_same_name_is_put_back(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = type(sys)("role")
    monkeypatch.setitem(sys.modules, "role", theirs)
    assert tree(role=role("[]")).hosts
    assert sys.modules["role"] is theirs


def test_modules_and_packages_of_the_tree(tree: Tree, tmp_path: Path) -> None:
    package = tmp_path / "desired" / "roles" / "inner"
    package.mkdir(parents=True)
    (package / "web.py").write_text(role('[Package(name="nginx")]'))
    late = "def resources(site):\n    import roles.inner.web as web\n    return web.resources(site)\n"
    assert tree(role=late).hosts[1].declared[0].resource.address == "package:nginx"
    assert not any(name.startswith("roles") for name in sys.modules)


def test_modules_that_a_tree_finds_its_own_way(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "desired" / "lib").mkdir(parents=True)
    (tmp_path / "desired" / "lib" / "deep.py").write_text("resources = lambda site: []\n")
    text = "import sys\nsys.path.append(__file__.replace('role.py', 'lib'))\nfrom deep import resources\n"
    before = list(sys.path)
    assert tree(role=text).hosts
    assert "deep" not in sys.modules
    assert sys.path == before


CUSTOM = """
from typing import ClassVar
from kbstate import Resource
class Custom(Resource):
    kind: ClassVar[str] = "custom"
    name: str
def resources(site):
    return [Custom(name="a")]
"""


def test_kinds_of_a_tree_are_forgotten_with_it(tree: Tree) -> None:
    assert tree(role=CUSTOM).hosts[0].declared[0].resource.address == "custom:a"
    assert "custom" in Resource.registry, "what is removed is known by its kind"
    tree(role=role("[]"))
    assert "custom" not in Resource.registry


def test_the_hash_key(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(CredentialError, match="KBSTATE_HASH_KEY is missing"):
        tree(role=role("[]")).hasher.digest(b"")
    (tmp_path / "credentials").mkdir()
    env = tmp_path / "credentials" / "kbstate.env"
    env.write_text("KBSTATE_HASH_KEY=0123456789abcdef\n")
    with pytest.raises(CredentialError, match="chmod 600"):
        tree(role=role("[]"))
    env.chmod(0o600)
    assert tree(role=role("[]")).hasher.digest(b"x").startswith("hmac-sha256:")


SERVERS = "ENV\tIP_PUBLIQUE\tHOSTNAME\tIP_PRIVEE\tFQDN\tUSER_SSH\tPOOL\tROLE\tSUBROLE\tDOCKER_STACK\tCORE\tNOTES\n"
FROM_INVENTORY = """
from kbstate import Host
def hosts(site):
    return [Host(name=s.hostname, address=s.address) for s in site.inventory.where(role="lb")]
"""


def test_hosts_from_the_inventory(tree: Tree, tmp_path: Path) -> None:
    (tmp_path / "desired").mkdir()
    (tmp_path / "desired" / "servers.tsv").write_text(SERVERS + "prod\t-\tlb-01\t10.0.0.9\t-\t-\t-\tlb\t-\t-\t-\t-\n")
    assert [(h.name, h.address) for h in tree(FROM_INVENTORY).hosts] == [("lb-01", "10.0.0.9")]
    (tmp_path / "desired" / "servers.tsv").write_text(SERVERS + "prod\t-\tlb 01\t10.0.0.9\t-\t-\t-\tlb\t-\t-\t-\t-\n")
    with pytest.raises(DesiredError, match=r"^desired/servers.tsv:2: HOSTNAME: must be"):
        tree(FROM_INVENTORY)
    other = tmp_path / "other.tsv"
    other.write_text(SERVERS + "prod\t-\tlb-02\t10.0.0.8\t-\t-\t-\tlb\t-\t-\t-\t-\n")
    assert load(Path("desired"), tmp_path, other).hosts[0].name == "lb-02"
    with pytest.raises(DesiredError, match=r"^the inventory nowhere.tsv cannot be read: No such file"):
        load(Path("desired"), tmp_path, Path("nowhere.tsv"))


FAULTS = [
    (
        'File(path="/etc/kb.conf", onwer="root")',
        "file:/etc/kb.conf: field 'onwer' does not exist: did you mean owner?",
    ),
    ('File(path="etc/kb.conf")', "file:etc/kb.conf: field 'path' must be an absolute path without '.', '..' or '//'"),
    (
        'File(path="/a\\nb")',
        "file:'/a\\nb': field 'path' must not contain control characters, line breaks or what is not UTF-8",
    ),
    ('File(content="x")', "file without path: field 'path' is missing"),
    ('File(path=7, mode="0644")', "file: field 'path' must be a valid string"),
    ('File(path="/a", mode=644)', "file:/a: field 'mode' must be a valid string"),
    (
        'File(path="/a", content=["hunter2"])',
        "file:/a: field 'content' must be a valid string or a valid bytes or an instance of Secret",
    ),
    ('Service(name="kb", settles=61)', "service:kb: field 'settles' must be less than or equal to 60"),
    ('Service(name="kb", restart_on=["a", 7])', "service:kb: field 'restart_on[1]' must be a valid string"),
    (
        '[Firewall(rules=[{"ports": ["x"]}])]',
        "firewall:kbstate: field 'rules[0].ports' must be a port, or a range such as '8000-8010'",
    ),
    ('[Firewall(rules=[{"prots": [1]}])]', None),
    ("Nonsense()", "NameError: name 'Nonsense' is not defined"),
    ("1 / 0", "ZeroDivisionError: division by zero"),
    ('__import__("sys").exit("stop")', "SystemExit: stop"),
    ("(_ for _ in ()).throw(KeyError)", "KeyError"),
    ('[File(path="/a", content="x" * (2 ** 80))]', "OverflowError: cannot fit 'int' into an index-sized integer"),
    ('[File("/a")]', "TypeError: BaseModel.__init__() takes 1 positional argument but 2 were given"),
    (
        'site.credentials["redis.env", "PASSWORD"]',
        "redis.env: PASSWORD is missing: there is no file {credentials}/redis.env",
    ),
    ("site.inventory.named('web')", "servers.tsv has no server 'web' of ENV prod: there is none"),
    ("template('x.j2')", "there is no template desired/x.j2"),
    ("from_file('x')", "desired/x cannot be read: No such file or directory"),
    ("(File(path=p) for p in ('/a', 'b'))", "file:b: field 'path' must be an absolute path without '.', '..' or '//'"),
    (
        '[File(path="/a", content="x", validate_with="true")]',
        "file:/a: validate_with must name the candidate as {path}",
    ),
    (
        '[File(path="/a"), File(path="/etc/kb.conf", requires=["fil:/a"])]',
        "file:/etc/kb.conf: requires 'fil:/a', which is not declared: did you mean file:/a?",
    ),
    (
        '[File(path="/a", requires=["file:/a"])]',
        "file:/a: requires 'file:/a', which is not declared: there is none",
    ),
    (
        '[File(path="/a"), Service(name="kb", restart_on=["file:/b"])]',
        "service:kb.service: restart_on names 'file:/b', which is not declared: did you mean file:/a?",
    ),
    (
        '[Package(name="nftables", held=True), Firewall(rules=[], ufw="active")]',
        "firewall:kbstate: ufw can only be declared inactive",
    ),
    ('[File(path="/a"), File(path="/a")]', "file:/a is declared twice: the other is at the same line"),
    (
        '[Package(name="nftables", absent=True), Firewall(rules=[])]',
        "firewall:kbstate needs package:nftables otherwise than it is declared at desired/role.py:3: make them agree",
    ),
]


@pytest.mark.parametrize(("expression", "message"), FAULTS)
def test_faults(tree: Tree, tmp_path: Path, expression: str, message: str | None) -> None:
    said = fault(tree, expression)
    first = said.splitlines()[0]
    if message is not None:
        assert said == "desired/role.py:3: " + message.replace("{credentials}", str(tmp_path / "credentials"))
    assert first.startswith("desired/role.py:3: ")
    assert "hunter2" not in said


WHOLE_FILE = [
    ("from kbstate import Flie, Host\n", "desired/hosts.py:1: kbstate has no 'Flie': did you mean File?"),
    ("import nowhere\n", "desired/hosts.py:1: ModuleNotFoundError: No module named 'nowhere'"),
    ("\ndef hosts(site:\n", "desired/hosts.py:2: this is not Python: '(' was never closed"),
    ("\n\nimport broken\n", "desired/broken.py:2: this is not Python: invalid syntax"),
    ("x = 1\n", "desired/hosts.py:1: it must define a function hosts(site) that returns hosts"),
    (
        "def hosts(site): return 7\n",
        "desired/hosts.py:1: hosts(site) must return hosts, in a list or one after another",
    ),
    (
        "def hosts(site): return ['a']\n",
        "desired/hosts.py:1: hosts(site) must return hosts, and returned a str too",
    ),
    (
        "def hosts(site): return []\n",
        "desired/hosts.py:1: hosts(site) returns no host: is there a row for one in servers.tsv, with ENV prod?",
    ),
    ("def hosts(): return []\n", "TypeError: hosts() takes 0 positional arguments but 1 was given"),
]


@pytest.mark.parametrize(("text", "message"), WHOLE_FILE)
def test_faults_of_a_whole_file(tree: Tree, text: str, message: str) -> None:
    with pytest.raises(DesiredError) as caught:
        tree(text, broken="\n!\n")
    assert str(caught.value) == message


HOSTS = [
    ('name="a b", address="10.0.0.1"', "Host 'a b': field 'name' must match "),
    ('name="-oProxyCommand=x", address="10.0.0.1"', "Host '-oProxyCommand=x': field 'name' must match "),
    ('name="a", address="-oProxyCommand=x"', "Host 'a': field 'address' "),
    ('name="a", address="10.0.0.1;id"', "Host 'a': field 'address' "),
    ('name="a", address="10.0.0.1", user="-l"', "Host 'a': field 'user' must match "),
    ('name="a", address="10.0.0.1", port=0', "Host 'a': field 'port' must be greater than or equal to 1"),
    ('name="a", address="10.0.0.1", prot=22', "Host 'a': field 'prot' does not exist: did you mean port?"),
    ('name="a"', "Host 'a': field 'address' is missing"),
    (
        'name="a", address="::1", modules={"base": [File(path="/a"), [File(path="/b")]]}',
        "Host 'a': field 'modules.base[1]' must be an instance of Resource",
    ),
    ('name="a", address="::1", modules=[]', "Host 'a': field 'modules' must be a valid dictionary"),
    ('name="a", address="::1", modules={"m": File(path="/a")}', "Host 'a': field 'modules.m' must be a list"),
    ('name="a", address="::1", checks=["x"]', "Host 'a': field 'checks[0]' must be an instance of Check"),
    (
        'name="a", address="::1", moved={"file:/a": "file:/b"}',
        "moved names 'file:/b', which is not declared: there is none",
    ),
    (
        'name="a", address="::1", modules={"m": [File(path="/a"), File(path="/b")]}, moved={"file:/a": "file:/b"}',
        "moved takes 'file:/a' away, which is still declared: remove one of the two",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), HOSTS)
def test_faults_of_a_host(tree: Tree, arguments: str, message: str) -> None:
    with pytest.raises(DesiredError) as caught:
        tree(f"from kbstate import File, Host\ndef hosts(site):\n    return [Host({arguments})]\n")
    assert str(caught.value).startswith(f"desired/hosts.py:3: {message}")


def test_hosts_that_are_one(tree: Tree) -> None:
    text = "from kbstate import Host\ndef hosts(site):\n    yield Host(name='a', address='::1')\n    yield Host({})\n"
    with pytest.raises(
        DesiredError, match=r"^desired/hosts.py:4: host A is declared twice: the other is at desired/hosts.py:3"
    ):
        tree(text.format("name='A', address='::2'"))
    with pytest.raises(
        DesiredError, match=r"^desired/hosts.py:4: hosts a and b have the same address ::1: declare one host"
    ):
        tree(text.format("name='b', address='0::1'"))
    assert tree(text.format("name='b', address='::1', port=2222")).hosts


def test_all_faults_at_once(tree: Tree) -> None:
    """Of several resources, each once though two hosts have it, and of several fields of one."""
    with pytest.raises(DesiredErrors) as caught:
        tree(role=role('[Service(name="kb", masked=True, running="failed", requires=["file:/x"])]'))
    assert len(caught.value.errors) == 3
    with pytest.raises(DesiredErrors) as caught:
        tree(role=role('[File(path="a", modus="1", mode="abc")]'))
    assert str(caught.value).splitlines() == [
        "desired/role.py:3: file:a: field 'path' must be an absolute path without '.', '..' or '//'",
        "desired/role.py:3: file:a: field 'mode' must be an octal mode such as '0644'",
        "desired/role.py:3: file:a: field 'modus' does not exist: did you mean mode?",
    ]


def test_no_desired_directory(tmp_path: Path) -> None:
    with pytest.raises(DesiredError, match=r"has no hosts\.py: name the directory of the desired state with --desired"):
        load(tmp_path / "nowhere", tmp_path)


@pytest.mark.parametrize("name", ["logging", "kbstate", "jinja2"])
def test_a_file_that_hides_a_module(tree: Tree, name: str) -> None:
    with pytest.raises(DesiredError, match=rf"^desired/{name}.py:1: it hides the module '{name}', .*: rename it$"):
        tree(**{name: ""})


def test_requires_takes_wildcards_and_brackets(tree: Tree) -> None:
    files = '[File(path="/a[1]"), File(path="/b", requires=["file:/a[1]", "file:/a*"])]'
    assert tree(role=role(files)).hosts


SECRET = """
from kbstate import File, Secret
def resources(site):
    password = Secret("hunter2")
    return [File(path="/a", content=password, mode=password), File(path=password)]
"""


def test_a_secret_is_in_no_error(tree: Tree, tmp_path: Path) -> None:
    with pytest.raises(DesiredError) as caught:
        tree(role=SECRET)
    assert "field 'mode'" in str(caught.value)
    plain = "from pydantic import AfterValidator\nfrom typing import Annotated, ClassVar\n" + CUSTOM.replace(
        "name: str", "name: str\n    token: Annotated[str | Secret, AfterValidator(check)]"
    ).replace(
        "from kbstate import Resource",
        "from kbstate import Resource, Secret\ndef check(v):\n    raise ValueError(f'bad {v}')",
    )
    with pytest.raises(DesiredError) as caught:
        tree(role=plain.replace('name="a"', 'name="a", token="hunter2"'))
    assert "field 'token' bad (sensitive)" in str(caught.value)


# --- hosts without a tree ---------------------------------------------------------------------------------------


def host(*resources: Resource, **more: Any) -> Host:
    return Host(name="a", address="10.0.0.1", modules={"base": resources}, **more)


def test_parts_are_declared_with_their_composite() -> None:
    firewall = Firewall(rules=())
    items = host(firewall).declared
    assert [item.resource.address for item in items] == ["package:nftables", "firewall:kbstate"]
    assert {item.module for item in items} == {"base"}
    assert items[0].resource.where == firewall.where


def test_a_part_gives_way_to_a_declaration_that_says_as_much() -> None:
    package = Package(name="nftables", held=True)
    for resources in ((package, Firewall(rules=())), (Firewall(rules=()), package)):
        items = host(*resources).declared
        assert [item.resource for item in items if item.resource.kind == "package"] == [package]
        assert len(items) == 2


class Pair(Resource):
    """Composed of a file that must say more or less."""

    name: str
    part: File

    kind = "test_pair"

    def parts(self) -> Any:
        yield self.part


def test_parts_of_two_composites() -> None:
    small, large, other = File(path="/a", requires=("b:c",)), File(path="/a", mode="0644"), File(path="/a", mode="0600")
    both = host(Pair(name="1", part=small), Pair(name="2", part=large))
    assert both.lookup("file:/a") == large
    assert len(both.declared) == 3
    joined = host(Pair(name="2", part=large), Pair(name="1", part=small)).lookup("file:/a")
    assert joined is not None
    assert joined.requires == ("b:c",)
    with pytest.raises(DesiredError, match="test_pair:2 needs file:/a otherwise than it is declared at "):
        host(Pair(name="1", part=large), Pair(name="2", part=other)).declared  # noqa: B018


class Demanding(Resource):
    kind = "test_demanding"
    name: str

    def bound(self, lookup: Any) -> Any:
        raise ValueError("there is no image")


def test_what_cannot_be_bound() -> None:
    with pytest.raises(DesiredError, match=r"test_desired.py:\d+: test_demanding:x: there is no image$"):
        host(Demanding(name="x")).declared  # noqa: B018


def test_a_small_tree_loads_without_heavy_imports(tmp_path: Path) -> None:
    (tmp_path / "hosts.py").write_text(TWO.replace("from role", "from role_of_test"))
    (tmp_path / "role_of_test.py").write_text(role('[File(path="/a", content="b")]'))
    code = (
        "import sys; from pathlib import Path; from kbstate.desired import load\n"
        f"load(Path({str(tmp_path)!r}), Path('/nonexistent')); "
        "heavy = {'pyinfra', 'deepdiff', 'typer', 'rich', 'jinja2', 'gevent', 'http.client'}\n"
        "print(heavy & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("set()\n", "")
