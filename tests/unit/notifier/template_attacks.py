# ruff: noqa: E501 - a corpus
"""Attacks on templates: code that shall run, objects that shall be shown, memory and time that shall be used up.

Run as a module it tries all of them in its own process, with little memory and time, and prints what held each back.
"""

import json
import resource
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from services.notifier.render import NotRendered, Templates
from services.notifier.template_syntax import MAX_BYTES, faults_of, kinds_of
from shared.clock import worked
from shared.manifest import Purpose, Variable

PURPOSE = Purpose(
    purpose="offer",
    variables={
        "name": Variable(type="text"),
        "amount": Variable(type="money", required=False),
        "items": Variable(type="list", required=False),
        "urgent": Variable(type="bool", required=False),
        "day": Variable(type="date", required=False),
        "count": Variable(type="int", required=False),
    },
)

ESCAPES = [
    # a way from a value to its class and from there to everything
    "{{ ''.__class__ }}", "{{ name.__class__.__mro__[1].__subclasses__() }}", "{{ ().__class__.__base__ }}", "{{ [].__class__ }}",
    "{{ {}.__class__ }}", "{{ name.__init__.__globals__ }}", "{{ name['__class__'] }}", "{{ name[('__cla','ss__')|join] }}",
    "{{ name|attr('__class__') }}", "{{ name|attr(['__cl','ass__']|join) }}", "{{ name|map(attribute='__class__')|list }}",
    "{{ items|map('attr','__class__')|join }}", "{{ items|join(', ', attribute='__class__') }}", "{{ items|join(attribute='__doc__') }}",
    "{{ items|join(', ', '__class__') }}", "{{ items|groupby('__class__') }}", "{{ items|sort(attribute='__class__') }}",
    "{{ items|selectattr('__class__') }}", "{{ (items|first).__class__ }}", "{{ amount.__dict__ }}", "{{ day.__reduce__() }}",
    "{{ count.__class__.__bases__ }}", "{{ urgent.__class__ }}", "{{ 1 .__class__ }}", "{{ true.__class__ }}", "{{ none.__class__ }}",
    # names that are not the purpose's
    "{{ self }}", "{{ self.__init__ }}", "{{ self._TemplateReference__context }}", "{{ cycler }}", "{{ cycler.__init__.__globals__.os }}",
    "{{ joiner() }}", "{{ namespace() }}", "{{ lipsum() }}", "{{ lipsum.__globals__['os'] }}", "{{ range(3) }}", "{{ dict(a=1) }}",
    "{{ config }}", "{{ request.application }}", "{{ get_flashed_messages() }}", "{{ url_for.__globals__ }}", "{{ g }}", "{{ session }}",
    "{{ environment }}", "{{ context }}", "{{ __import__('os') }}", "{{ open('/etc/passwd').read() }}", "{{ caller() }}", "{{ varargs }}",
    "{{ kwargs }}", "{{ super() }}", "{{ _ }}", "{{ gettext('x') }}", "{{ loop }}", "{{ loop.index }}", "{{ buyer_password }}",
    "{{ undefined_name|default(name) }}", "{{ debug }}", "{% debug %}", "{% do items.append(1) %}",
    # calls
    "{{ name.upper() }}", "{{ name.format(name) }}", "{{ '{0.__class__}'.format(name) }}", "{{ name.format_map({}) }}", "{{ items.append('x') }}",
    "{{ items.clear() }}", "{{ items.pop() }}", "{{ name.join(items) }}", "{{ name.encode() }}", "{{ name() }}", "{{ (name|upper)() }}",
    "{{ '%s'|format(name) }}", "{{ '%c' % 37 }}", "{{ name|replace('a', 'b') }}", "{{ name|safe }}", "{{ name|tojson }}", "{{ name|pprint }}",
    "{{ name|string }}", "{{ name|xmlattr }}", "{{ items|tojson }}", "{{ name|e }}", "{{ name|list }}", "{{ name|random }}", "{{ name|reverse }}",
    "{{ name is callable }}", "{{ name is sameas none }}", "{{ name is filter }}", "{{ name is divisibleby 3 }}", "{{ name is in(items) }}",
    # objects shown as Python writes them
    "{{ items }}", "{{ urgent }}", "{{ none }}", "{{ true }}", "{{ [1, 2] }}", "{{ {'a': 1} }}", "{{ (1, 2) }}", "{{ items or name }}",
    "{{ name and items }}", "{{ name == 'x' }}", "{{ not name }}", "{{ name if urgent else items }}", "{{ 'x' if urgent }}",
    "{% for a in items %}{{ loop }}{% endfor %}", "{% for a in items %}{{ loop.first }}{% endfor %}", "{% for a in items %}{{ loop|upper }}{% endfor %}",
    "{% for a in items %}{{ loop.previtem }}{% endfor %}", "{% for a in items %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for a in items %}{{ loop.changed(a) }}{% endfor %}", "{% for a in items %}{{ loop._iterable }}{% endfor %}", "{{ items|upper }}",
    "{{ urgent|trim }}", "{{ name|plural(one='a', other='b') }}", "{{ items|plural(one='a', other='b') }}",
    # statements that load, define or change
    "{% include 'x' %}", "{% import 'x' as x %}", "{% from 'x' import y %}", "{% extends 'x' %}", "{% block b %}{% endblock %}",
    "{% macro f() %}{{ f() }}{% endmacro %}", "{% call f() %}{% endcall %}", "{% set name = 'x' %}", "{% set ns.x = 1 %}", "{% with x = 1 %}{{ x }}{% endwith %}",
    "{% filter upper %}a{% endfilter %}", "{% autoescape false %}{{ name }}{% endautoescape %}", "{% trans %}x{% endtrans %}", "{% raw %}{% endraw %}{{ config }}",
    "{% include name %}", "{% include ['a', name] ignore missing %}", "{% extends name %}", "{% for name.x in items %}{% endfor %}", "{% for a, b in items %}{% endfor %}",
    # plural and listed bent
    "{{ count|plural }}", "{{ count|plural(one='a') }}", "{{ count|plural('a', 'b') }}", "{{ count|plural(one=name, other='b') }}", "{{ count|plural(**items) }}",
    "{{ count|plural(*items) }}", "{{ count|plural(one='a', other='b', __class__='c') }}", "{{ count|plural(one=1, other=2) }}", "{{ items|listed(name) }}", "{{ name|listed }}",
    "{{ items|listed(style='x') }}", "{{ count|plural(one='', other='') }}", "{{ count|plural(one='{{', other=config) }}",
]  # fmt: skip

EXHAUSTS = [
    "{{ 'a' * 50000000 }}", "{{ name * 50000000 }}", "{{ items * 9999999 }}", "{{ 9 ** 9 ** 9 }}", "{{ 2 ** 99999999 }}", "{{ 10 // 0 }}", "{{ 1 + 1 }}",
    "{{ -1 }}", "{{ name ~ name ~ name }}", "{{ 'a' ~ 'b' }}", "{{ name|center(20000000) }}", "{{ '%0100000000d' % 1 }}", "{{ name|indent(99999999) }}",
    "{{ name|wordwrap(1) }}", "{{ name|urlize }}", "{{ items|batch(1)|list }}", "{{ items|slice(99999999) }}", "{{ name|truncate(5) }}", "{{ range(10**9)|list }}",
    "{% for a in range(999999999) %}x{% endfor %}", "{% for a in items %}{% for b in items %}{% for c in items %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in items %}{% for b in items %}x{% endfor %}{% endfor %}", "{% for a in items %}x{% else %}{% for b in items %}y{% endfor %}{% endfor %}{% for a in 'abc' %}x{% endfor %}",
    "{% for a in name %}{{ name }}{% endfor %}", "{% for a in items recursive %}{{ loop(items) }}{% endfor %}", "{% for a in items if a %}x{% endfor %}",
    "{% for a in items|sort %}x{% endfor %}", "{% for a in (items, items) %}x{% endfor %}", "{% for loop in items %}{{ loop }}{% for x in loop %}{% endfor %}{% endfor %}",
    # a filter that lets what it is given grow, over and over
    "{{ items|join(items|join(items|join(items|join))) }}", "{% if items|join(items|join(items|join(items|join(name)))) == 'x' %}y{% endif %}",
    "{{ items|join|join('" + "x" * 150 + "')|join('" + "x" * 150 + "') }}", "{{ items|join(name) }}", "{{ items|join('" + "x" * 100 + "') }}",
    "{{ name|join('" + "x" * 20 + "') }}", "{{ (items|join)|join(', ') }}", "{{ items|listed|listed }}", "{{ name|first|join }}", "{{ items|first|length }}",
    # too large, too deep, too much of one thing
    "x" * (MAX_BYTES + 1), "ж" * (MAX_BYTES // 2 + 1), "{{ '" + "x" * 300 + "' }}", "{{ " + "9" * 5000 + " }}", "{{ 9999999999 }}", "{{ 1e308 }}", "{{ 1e999999 }}", "{{ 0.1 }}",
    "{{ " + "(" * 4000 + "name" + ")" * 4000 + " }}", "{{ " + "not " * 4000 + "name }}", "{{ " + "-" * 4000 + "1 }}", "{{ name" + "|upper" * 3000 + " }}", "{{ name" + "|upper" * 40 + " }}", "{{ name|upper }}" * 51, "{% for a in items %}" + "{% if items|listed == name %}{% endif %}" * 440 + "{% endfor %}",
    "{% if urgent %}" * 1200, "{% if urgent %}" * 600 + "x" + "{% endif %}" * 600, "{% if urgent %}" * 30 + "x" + "{% endif %}" * 30, "{% for a in items %}" * 500,
    "{{ name" + " if urgent else name" * 900 + " }}", "{{ " + "name and " * 2000 + "name }}", "{{ [" * 3000, "{{ " + "{" * 3000, "{{ name" + ".x" * 3000 + " }}", "{{ name" + "[0]" * 3000 + " }}",
    # not a template at all
    "{{ name", "{% if name %}", "{% endif %}", "{{ }}", "{% %}", "{{ name | }}", "{{ 'a }}", "{% for in items %}", "{% unknown %}", "{# no end", "{{ name !}}",
    "{{ '\\N{nothing}' }}", "{{ '\\ud800' ~ name }}", "{{ name }} {{", "{% if name = 'x' %}{% endif %}", "{% elif name %}",
]  # fmt: skip

WORST = [
    "{% raw %}",
    # taken by the allow-list: what they can cost is bounded by the size of a template, of values and of a text
    "{{ name }}" * 1900, "{% for a in items %}{{ a }}{% endfor %}" * 500, "{% for a in items %}" + "{{ name }}" * 1900 + "{% endfor %}",
    "{% for a in items %}" + "{% if items|join == name %}x{% endif %}" * 50 + "{% endfor %}", "{% for a in items %}" + "{% if name in items %}{% endif %}" * 480 + "{% endfor %}",
    "{% for a in items %}" + "{% if items|listed == name %}{% endif %}" * 50 + "{% endfor %}", "{% for a in items %}" + "{{ '' if a else '' }}" * 900 + "{% endfor %}",
    "{% for a in items %}" + "{% if name in name %}{% endif %}" * 480 + "{% endfor %}", "{{ name|upper|lower|title|capitalize|trim }}" * 10, "{{ items|join(', ') }}" * 50,
    "{% if name == name == name == name != name %}x{% endif %}" * 350, "{% for a in items %}" + "{% if a|upper == name|upper %}{% endif %}" * 25 + "{% endfor %}",
    "{{ count|plural(one='a', other='b') }}" * 50, "{% for a in items %}{{ loop.index }} {{ a if loop.index > 3 else 'c' }}{% endfor %}",
]  # fmt: skip

VALUES = (
    {"name": "{{ config }}{% for x in y %}", "amount": {"value": "12.50", "currency": "EUR"}, "items": ["{{ 7*7 }}"] * 50, "urgent": True,
     "day": "2026-01-20", "count": 10**9},
    {"name": "\u0130" * 4000, "items": ["\u0390" * 400] * 50, "urgent": False, "count": -1, "day": "2026-01-20"},
    {"name": "x" * 4000, "items": [""] * 50, "urgent": False, "count": 0},
    {"name": "\ud800\u202e\u0000", "items": ["\ud800"], "count": "７"},
    {"name": "x", "amount": {"value": "1E+400", "currency": "EUR"}},
    {"name": "x", "items": []},
)  # fmt: skip
OBJECTS = (
    "<class",
    "<bound",
    "<function",
    "<module",
    "object at 0x",
    "LoopContext",
    "Undefined",
    "jinja2",
    "None",
    "True",
    "False",
    "['",
)


def held_by(text: str) -> str:
    """What kept an attack from its aim: `refused` at loading, `failed` or `bounded` when rendered with the worst values."""
    if faults_of(text, kinds_of(PURPOSE)):
        return "refused"
    with TemporaryDirectory() as folder:
        (Path(folder) / "offer").mkdir()
        (Path(folder) / "offer" / "en.j2").write_text(text, "utf-8", "surrogatepass")
        templates = Templates([Path(folder)], {"offer": PURPOSE})
        return "+".join(sorted({_rendered(templates, values) for values in VALUES}))


def _rendered(templates: Templates, values: dict[str, object]) -> str:
    began = worked()
    try:
        text = templates.render("offer", ["en"], values).body
    except NotRendered:
        return "failed"
    finally:
        assert worked() - began < 1, "it took too long"
    assert len(text.encode("utf-8", "surrogatepass")) <= MAX_BYTES, "it grew too large"
    shown = [sign for sign in OBJECTS if sign in text]
    assert not shown, f"{shown} in {text[:200]}"
    return "bounded"


def main() -> None:
    """Within 256 MB more than the interpreter has by then, and 60 s of CPU."""
    held_by("{{ name }}")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + (256 << 20), pages + (256 << 20)))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    held = [held_by(text) for text in [*ESCAPES, *EXHAUSTS, *WORST]]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - used
    json.dump({"held": held, "grown": grown}, sys.stdout)


if __name__ == "__main__":
    main()
