#!/usr/bin/env bash
# Keeps the documentation true where a machine can: ./docs/check.sh [PATH-OF-GABION]
#
# Always: relative links and their anchors resolve; every error code, metric, table and wire field of the code is described.
# With the path of a binary: every `gabion ...` command in the text, and every option of one, is one that it knows.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

failures=0

say() { printf 'docs: %s\n' "$*" >&2; }

fail() {
    say "$*"
    failures=$((failures + 1))
}

pages() { find README.md docs -name '*.md' | sort; }

# The anchors that a page's headings get: lower case, without punctuation, with hyphens for spaces.
anchors() { # anchors PAGE
    awk '/^```/ { fenced = !fenced } !fenced && /^#+ /' "$1" |
        sed -E 's/^#+ +//; s/`//g' |
        tr '[:upper:]' '[:lower:]' |
        sed -E 's/[^a-z0-9 _-]//g; s/ /-/g'
}

# The targets of a page's links, outside of code.
links() { # links PAGE
    awk '/^```/ { fenced = !fenced; next } !fenced' "$1" |
        sed -E 's/`[^`]*`//g' |
        grep -oE '\]\([^) ]+\)' |
        sed -E 's/^\]\(//; s/\)$//' || true
}

check_links() {
    local page target file anchor
    while read -r page; do
        while read -r target; do
            case "$target" in
            http://* | https://* | mailto:*) continue ;;
            esac
            file="${target%%#*}"
            anchor=""
            [ "$file" = "$target" ] || anchor="${target#*#}"
            file="${file:+$(dirname "$page")/$file}"
            file="${file:-$page}"
            if [ ! -e "$file" ]; then
                fail "$page: there is no $target"
            elif [ -n "$anchor" ] && ! anchors "$file" | grep -qxF -- "$anchor"; then
                fail "$page: $file has no heading for #$anchor"
            fi
        done < <(links "$page")
    done < <(pages)
}

# What stands in the code must stand between backquotes in a page.
check_described() { # check_described PAGE WHAT < WORDS
    local word
    while read -r word; do
        grep -qF -- "\`$word\`" "$1" || fail "$1: the $2 $word is not described"
    done
}

check_code() {
    check_described docs/wire/errors.md "error code" < <(
        sed -nE 's/^ +[A-Za-z]+ = [0-9]+ "([a-z_]+)",$/\1/p' protocol/src/error.rs
    )
    check_described docs/observability.md metric < <(
        grep -rhoE --include='*.rs' '(counter|gauge|histogram)!\( *"[a-z_]+"' agent control |
            sed -E 's/.*"([a-z_]+)"/\1/' | sort -u
    )
    check_described docs/store.md table < <(
        sed -nE '/^pub enum Table/,/^}/ s/^ +([A-Za-z]+) = [0-9]+,$/\1/p' control/core/src/store.rs
    )
}

# Each numbered field and variant of the wire has a row of that number and name.
check_wire() {
    local number name
    while read -r number name; do
        grep -qF -- "| $number | \`$name\` |" docs/wire/*.md ||
            fail "docs/wire: field $number, $name, is not described"
    done < <(
        find protocol/src/envelope.rs protocol/src/envelope protocol/src/error.rs protocol/src/node.rs protocol/src/document \
            protocol/src/frame.rs protocol/src/frame protocol/src/wire.rs protocol/src/wire \
            -name '*.rs' ! -name tests.rs -exec cat {} + |
            sed -nE 's/^    #\[n\(([0-9]+)\)\]$/#\1/p; s/^    (pub )?([A-Za-z_]+)(: |,$|\(#| \{$).*/\1\2/p; s/^}.*/}/p' |
            awk '/^#/ { number = substr($0, 2); next }
                 number != "" && (/^pub / || /^[A-Z]/) { print number, ($1 == "pub" ? $2 : $1) }
                 { number = "" }' | sort -u
    )
}

# The code of all pages: fenced lines and spans between backquotes, one to a line.
code() {
    local page
    while read -r page; do
        awk '/^```/ { fenced = !fenced; next } fenced' "$page"
        awk '/^```/ { fenced = !fenced; next } !fenced' "$page" | grep -oE '`[^`]+`' | tr -d '`' || true
    done < <(pages)
}

# The subcommands that a help text lists.
subcommands() { # subcommands BINARY [NOUN]
    "$@" --help | awk '/^Commands:/ { listed = 1; next } /^[^ ]/ { listed = 0 } listed && /^  [a-z]/ { print $1 }'
}

check_commands() { # check_commands BINARY
    local binary="$1" nouns verbs noun verb
    nouns="$(subcommands "$binary")"
    while read -r noun verb; do
        if ! grep -qxF -- "$noun" <<<"$nouns"; then
            fail "there is no command: gabion $noun"
            continue
        fi
        [ -n "$verb" ] || continue
        verbs="$(subcommands "$binary" "$noun")"
        if [ -n "$verbs" ] && ! grep -qxF -- "$verb" <<<"$verbs"; then
            fail "there is no command: gabion $noun $verb"
        fi
    done < <(code |
        grep -oE '(^|[ (;|&])gabion [a-z][a-z-]*( [a-z][a-z-]*)?' |
        sed -E 's/^[ (;|&]*gabion //' | sort -u)
}

# The options that stand behind a command, up to the end of its line or of the command.
check_options() { # check_options BINARY
    local binary="$1" noun verb options option help
    while read -r noun verb options; do
        help="$("$binary" "$noun" ${verb:+"$verb"} --help 2>/dev/null || "$binary" "$noun" --help)"
        for option in $(grep -oE -- '--[a-z][a-z-]*' <<<"$verb $options"); do
            grep -qE -- "(^|[ ,])$option([ =,]|$)" <<<"$help" || fail "gabion $noun $verb has no option $option"
        done
    done < <(code |
        grep -oE '(^|[ (;|&])gabion [a-z][a-z-]* [^|;&#)]*--[a-z][^|;&#)]*' |
        sed -E 's/^[ (;|&]*gabion //' | sort -u)
}

check_links
check_code
check_wire
if [ "$#" -ge 1 ]; then
    check_commands "$1"
    check_options "$1"
else
    say "no binary was named: the commands in the text are not checked"
fi

if [ "$failures" -gt 0 ]; then
    say "$failures found"
    exit 1
fi
