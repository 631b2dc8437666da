"""Completion scripts for bash, zsh and fish, made from the table."""

from kaa.cli.help import Route, options, walk
from kaa.cli.table import COMMAND, COMMANDS, CONTAINER, FLAG, LIST, SIGNAL, Command, Option

_PATHS = {"FILE": "@file", "SOCKET": "@file", "DIR": "@dir"}
_OPERANDS = {
    CONTAINER: "@container",
    SIGNAL: "HUP INT QUIT KILL USR1 USR2 TERM CONT STOP WINCH",
    COMMAND: " ".join([command.name for command in COMMANDS]),
}


def _shown(command: Command) -> list[Option]:
    return [option for option in options(command) if not option.hidden]


def _names(option: Option) -> list[str]:
    return [f"--{option.name}"] + ([f"-{option.short}"] if option.short else [])


def _value(option: Option) -> str:
    """What completes the option's value: @file, @dir, words, or nothing."""
    return " ".join(option.choices) or _PATHS.get(option.value, "")


def _operand(word: str) -> str:
    """What completes an operand: @container, words, or nothing."""
    return _OPERANDS.get(word, word)


def _function(route: Route) -> str:
    """The name of a command's shell function."""
    return "_" + "_".join([c.name for c in route])


# -- bash ------------------------------------------------------------------

_BASH = r"""# bash completion for kaa, made by `kaa completion bash`

@TABLES@
_kaa_fill() {  # what to offer, the word so far
    case $1 in
    @file) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
    @dir) compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
    @container)
        mapfile -t COMPREPLY < <(compgen -W "$("${_kaa_list[@]}" list -q 2>/dev/null)" -- "$2") ;;
    *) mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2") ;;
    esac
}

_kaa() {
    local key=kaa operands=0 option= word i commands stop
    local _kaa_list=("${COMP_WORDS[0]}")
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then  # readline splits at "="; what follows is not a word by itself
            [[ $option ]] || i=$((i + 1))
            continue
        fi
        if [[ $option ]]; then
            [[ $option == --root ]] && _kaa_list+=(--root "${word/#\~/$HOME}")
            option=
            continue
        fi
        stop=$(_kaa_stop "$key")
        if ((stop && operands >= stop)); then
            operands=$((operands + 1))
        elif [[ $word == -* ]]; then
            _kaa_value "$key" "$word" >/dev/null && option=$word
        elif commands=$(_kaa_commands "$key"); [[ $commands ]]; then
            key="$key $word"
        else
            operands=$((operands + 1))
        fi
    done
    word=${COMP_WORDS[COMP_CWORD]}
    [[ $word == = ]] && word=
    stop=$(_kaa_stop "$key")
    if [[ $option ]]; then
        _kaa_fill "$(_kaa_value "$key" "$option")" "$word"
    elif ((stop && operands >= stop)); then
        return
    elif [[ $word == -* ]]; then
        _kaa_fill "$(_kaa_options "$key")" "$word"
    elif commands=$(_kaa_commands "$key"); [[ $commands ]]; then
        _kaa_fill "$commands" "$word"
    else
        _kaa_fill "$(_kaa_operand "$key" "$operands")" "$word"
    fi
}

complete -F _kaa kaa
"""


def bash() -> str:
    """The script for bash 4 and newer."""
    commands, flags, values, operands, stops = [], [], [], [], []
    for route in walk():
        key = " ".join([c.name for c in route])
        command = route[-1]
        if command.commands:
            commands.append((f'"{key}"', " ".join([c.name for c in command.commands])))
        shown = _shown(command)
        flags.append((f'"{key}"', " ".join([n for o in shown for n in _names(o)])))
        values += [
            (" | ".join([f'"{key} {n}"' for n in _names(o)]), _value(o))
            for o in shown
            if o.kind != FLAG
        ]
        operands += [(f'"{key} {i}"', _operand(w)) for i, w in enumerate(command.completes)]
        if command.stop:
            stops.append((f'"{key}"', str(command.stop)))
    tables = [
        _bash_table("commands", "$1", commands),
        _bash_table("options", "$1", flags),
        _bash_table("value", "$1 $2", values),
        _bash_table("operand", "$1 $2", operands),
        _bash_table("stop", "$1", stops, "echo 0"),
    ]
    return _BASH.replace("@TABLES@", "\n".join(tables))


def _bash_table(
    name: str, subject: str, rows: list[tuple[str, str]], other: str = "return 1"
) -> str:
    cases = "\n".join([f"    {pattern}) echo '{words}' ;;" for pattern, words in rows])
    return f'_kaa_{name}() {{\n    case "{subject}" in\n{cases}\n    *) {other} ;;\n    esac\n}}\n'


# -- zsh -------------------------------------------------------------------

_ZSH = r"""#compdef kaa
# zsh completion for kaa, made by `kaa completion zsh`

_kaa_containers() {
    local -a ids
    ids=(${(f)"$(_call_program containers kaa ${_kaa_root} list -q 2>/dev/null)"})
    compadd -- $ids
}

@FUNCTIONS@
if [[ $funcstack[1] == _kaa ]]; then
    _kaa "$@"
else
    compdef _kaa kaa
fi
"""

_ZSH_VALUES = {"@file": "_files", "@dir": "_files -/", "@container": "_kaa_containers", "": " "}


def zsh() -> str:
    """The script for zsh; it works as a file in $fpath and through eval."""
    return _ZSH.replace("@FUNCTIONS@", "\n".join([_zsh_function(route) for route in walk()]))


def _zsh_function(route: Route) -> str:
    command = route[-1]
    lines = [_zsh_option(option) for option in _shown(command)]
    after = ""
    if command.commands:
        lines += ["'1:command:->command'", "'*::argument:->argument'"]
        after = _zsh_dispatch(route)
    else:
        lines += [f"'{i}:operand:{_zsh_action(_operand(w))}'" for i, w in
                  enumerate(command.completes, 1)]  # fmt: skip
        if command.stop:
            lines.append("'*:::argument: '")
    body = " \\\n        ".join(
        ["_arguments -C -A '-*'" if command.stop else "_arguments -C", *lines]
    )
    local = "    local curcontext=$curcontext state line\n    local -A opt_args\n"
    if len(route) == 1:
        local += "    local -a _kaa_root\n"
    return f"{_function(route)}() {{\n{local}    {body}\n{after}}}\n"


def _zsh_dispatch(route: Route) -> str:
    commands = route[-1].commands
    described = "\n".join([f"            '{c.name}:{_zsh_text(c.summary)}'" for c in commands])
    cases = "\n".join([f"        {c.name}) {_function((*route, c))} ;;" for c in commands])
    root = ""
    if len(route) == 1:
        root = "    (( $+opt_args[--root] )) && _kaa_root=(--root ${(Q)opt_args[--root]})\n"
    return (
        f"{root}    case $state in\n    command)\n        local -a commands\n        commands=(\n"
        f"{described}\n        )\n        _describe command commands\n        ;;\n"
        f"    argument)\n        case $words[1] in\n{cases}\n        esac\n        ;;\n    esac\n"
    )


def _zsh_option(option: Option) -> str:
    text, equals = f"[{_zsh_text(option.help)}]", ""
    if option.kind != FLAG:
        text += f":{_zsh_text(option.value)}:{_zsh_action(_value(option))}"
        equals = "="
    names = f"--{option.name}{equals}"
    again = "*" if option.kind == LIST else ""
    if option.short:
        again = again or f"(--{option.name} -{option.short})"
        names = f"{{{names},-{option.short}}}"
    return f"'{again}'{names}'{text}'"


def _zsh_action(what: str) -> str:
    return _ZSH_VALUES.get(what) or f"({what})"


def _zsh_text(text: str) -> str:
    for character in "\\:[]":
        text = text.replace(character, f"\\{character}")
    return text.replace("'", "'\\''")


# -- fish ------------------------------------------------------------------

_FISH = r"""# fish completion for kaa, made by `kaa completion fish`

function __kaa_containers
    set -l root
    set -l words (commandline -opc)
    for i in (seq (count $words))
        if test "$words[$i]" = --root
            set root --root $words[(math $i + 1)]
        end
    end
    kaa $root list -q 2>/dev/null
end

complete -c kaa -f
"""

_FISH_VALUES = {
    "@file": "-F",
    "@dir": "-a '(__fish_complete_directories)'",
    "@container": "-a '(__kaa_containers)'",
    "": "",
}


def fish() -> str:
    """The script for fish 3 and newer."""
    lines = []
    for route in walk():
        command = route[-1]
        inside = [f"__fish_seen_subcommand_from {c.name}" for c in route[1:]]
        if command.commands:
            names = " ".join([c.name for c in command.commands])
            here = f"__kaa_before{_function(route)}"
            test = "; and ".join([*inside, f"not __fish_seen_subcommand_from {names}"])
            lines.append(f"\nfunction {here}\n    {test}\nend\n")
            lines += [
                f"complete -c kaa -n '{here}' -a {c.name} -d {_fish_text(c.summary)}"
                for c in command.commands
            ]
        else:
            here = "; and ".join(inside)
            lines += [
                f"complete -c kaa -n '{here}' {_fish_action(_operand(w))}" for w in
                command.completes if w
            ]  # fmt: skip
        lines += [_fish_option(here, option) for option in _shown(command)]
    return _FISH + "\n".join(lines) + "\n"


def _fish_option(here: str, option: Option) -> str:
    short = f" -s {option.short}" if option.short else ""
    value = ""
    if option.kind != FLAG:
        value = f" -x {_fish_action(_value(option))}".rstrip().replace("-x -F", "-r -F")
    return (
        f"complete -c kaa -n '{here}' -l {option.name}{short}{value} -d {_fish_text(option.help)}"
    )


def _fish_action(what: str) -> str:
    return _FISH_VALUES.get(what, f"-a '{what}'")


def _fish_text(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS = {"bash": bash, "zsh": zsh, "fish": fish}

# Where the scripts lie below share/.
FILES = {
    "bash": "bash-completion/completions/kaa",
    "zsh": "zsh/site-functions/_kaa",
    "fish": "fish/vendor_completions.d/kaa.fish",
}
