"""The page of people: invite by a link that works once, change roles, put someone out and let them in again."""

from datetime import UTC, datetime

import gradio as gr

from annotate import auth
from annotate.auth import ROLES
from annotate.ledger import Ledger
from annotate.pages.frame import Desk, Told, area, begin, clickable, on
from annotate.pages.markup import Markup, el, join, table
from annotate.people import Member, describe, name_of, roster, set_role
from annotate.profiles import profile_of

# The address is the browser's business: a proxy may serve us under any name.
_WHOLE_LINK = (
    "const go = () => { const link = element.querySelector('a'); if (!link) return;"
    " link.textContent = link.href; const copy = element.querySelector('[data-copy]');"
    " copy.onclick = async () => { try { await navigator.clipboard.writeText(link.href);"
    " copy.textContent = 'Copied'; } catch { getSelection().selectAllChildren(link); } }; };"
    " watch('value', go); go();"
)


def build(demo: gr.Blocks, ledger: Ledger) -> None:
    """The page, inside its Blocks context."""
    begin(demo, ledger, "people", "People")
    with gr.Row(elem_classes="ld-filters"):
        name = gr.Textbox(label="Name", max_lines=1, max_length=80, scale=2, min_width=200)
        role = gr.Dropdown(list(ROLES), value="annotator", label="Role", min_width=140, filterable=False)
        invite_them = gr.Button("Make an invitation", variant="primary", min_width=170)
    link = area(js=_WHOLE_LINK)
    problem = area()
    part = gr.Textbox(label="Find", placeholder="Part of a name", max_lines=1, elem_classes="ld-narrow")
    shown = clickable(el("p", "Loading …", class_="ld-empty"))

    with gr.Column(visible=False, elem_id="ld-profile") as form:
        heading = area()
        with gr.Row(elem_classes="ld-filters"):
            languages = gr.Textbox(label="Languages", placeholder="English, Arabic", max_lines=1, min_width=200)
            expertise = gr.Textbox(label="Expertise", placeholder="medicine, law", max_lines=1, min_width=200)
            save = gr.Button("Save", variant="primary", min_width=110)
        whom = gr.Textbox(visible=False)

    on(ledger, demo.load, "people.list", show, [part], [shown], told=problem)
    on(ledger, part.submit, "people.list", show, [part], [shown], told=problem)
    for event in (invite_them.click, name.submit):
        on(ledger, event, "people.invite", invite, [name, role, part], [shown, link, name], told=problem)
    outputs = [shown, link, form, heading, whom, languages, expertise]
    on(ledger, shown.click, "people.click", click, [part], outputs, told=problem, clicked=True)
    on(
        ledger,
        save.click,
        "people.describe",
        write_down,
        [whom, languages, expertise, part],
        [shown, form],
        told=problem,
    )


def show(desk: Desk, part: str | None) -> list[Markup]:
    """Everybody whose name has this part."""
    return [_people(desk, part)]


def invite(desk: Desk, name: str | None, role: str | None, part: str | None) -> Told:
    """Make a link that signs someone in once; they are new, or known and get another way in."""
    if role not in ROLES:
        role = "annotator"
    secret = auth.invite(desk.ledger, name or "", ROLES[ROLES.index(role)], by=desk.person)
    return Told([_people(desk, part), _link(auth.clean(name or ""), secret), ""], "Invited.")


def click(desk: Desk, clicked: dict[str, str], part: str | None) -> Told:
    """A button of somebody's row. What cannot be taken back in a moment is asked first, in the row itself."""
    identity, act = clicked.get("id", ""), clicked.get("do", "")
    with desk.ledger.read() as session:
        name = name_of(session, identity)
    done, link, asked = "", Markup(), {}
    if act == "link":
        link = _link(name, auth.invite(desk.ledger, name, by=desk.person))
        done = "A new link was made; links made before still work."
    elif act == "sure":
        auth.deactivate(desk.ledger, name, by=desk.person)
        done = f"{name} was put out: signed out everywhere, labels kept."
    elif act == "reactivate":
        auth.reactivate(desk.ledger, name, by=desk.person)
        done = f"{name} may come in again, by a new link."
    elif act.startswith("role-"):
        set_role(desk.ledger, identity, act.removeprefix("role-"), by=desk.person)
        done = f"{name} is {act.removeprefix('role-')} now."
    elif act in ("deactivate", "role"):
        asked = {act: identity}
    shown = [_people(desk, part, **asked), link]
    if act != "describe":
        return Told([*shown, gr.Column(visible=False), "", "", "", ""], done)
    with desk.ledger.read() as session:
        known = profile_of(session, identity)
    words = [", ".join(known[which]) for which in ("languages", "expertise")]
    heading = el("h2", f"What {name} can judge", class_="ld-h2")
    return Told([*shown, gr.Column(visible=True), heading, identity, *words], done)


def write_down(
    desk: Desk, identity: str | None, languages: str | None, expertise: str | None, part: str | None
) -> Told:
    """Store languages and expertise of somebody."""
    describe(desk.ledger, identity or "", languages or "", expertise or "", by=desk.person)
    return Told([_people(desk, part), gr.Column(visible=False)], "Saved.")


def _people(desk: Desk, part: str | None, *, deactivate: str = "", role: str = "") -> Markup:
    with desk.ledger.read() as session:
        members = roster(session, part or "")
    return table(
        "People",
        ["Name", "Role", "Languages, expertise", "#Labels", "Last label", "What to do"],
        [
            (
                join(
                    one.name,
                    el("small", " (you)") if one.id == desk.person.id else None,
                    el("span", one.id, class_="ld-quote"),
                ),
                one.role if one.active else join(one.role, el("span", "put out", class_="ld-mark")),
                join(", ".join(one.languages), el("span", ", ".join(one.expertise), class_="ld-quote")),
                f"{one.labels:,}",
                "–" if one.last_at is None else datetime.fromtimestamp(one.last_at, UTC).strftime("%Y-%m-%d %H:%M"),
                _actions(desk, one, deactivate == one.id, role == one.id),
            )
            for one in members
        ],
        empty="Nobody has such a name.",
    )


def _actions(desk: Desk, one: Member, sure: bool, role: bool) -> Markup | None:
    """Buttons for what this lead may do to this person."""
    if one.id == desk.person.id or not desk.may(one.role):
        return None

    def button(text: str, do: str, look: str = "", *, focus: bool = False) -> Markup:
        return el(
            "button",
            text,
            type="button",
            class_=f"ld-button ld-small {look}".strip(),
            data_do=do,
            data_id=one.id,
            aria_label=f"{text}: {one.name}",
            autofocus=focus,
        )

    if sure:
        asked = el("span", f"Put {one.name} out at once?", class_="ld-ask")
        return join(asked, button("Yes, put out", "sure", "ld-sure"), button("No", "keep", focus=True))
    if role:
        given = [button(each, f"role-{each}") for each in ROLES if each != one.role and desk.may(each)]
        return join(el("span", "Make them", class_="ld-ask"), given, button("No", "keep", focus=True))
    if not one.active:
        return button("Let in again", "reactivate")
    return join(
        button("New link", "link"),
        button("Role", "role"),
        button("Profile", "describe"),
        button("Put out", "deactivate"),
    )


def _link(name: str, secret: str) -> Markup:
    """The link, to be handed over by the lead; its secret stands behind the #, which no log ever sees."""
    return el(
        "div",
        el("p", f"A link for {name}. It works once, within a week, and is not shown again:"),
        el("p", el("a", "the link", href=f"../login#invited={secret}", class_="ld-secret")),
        el("button", "Copy", type="button", class_="ld-button ld-small", data_copy=True),
        class_="ld-invited",
        role="status",
    )
