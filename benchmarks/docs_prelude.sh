# What the shell that runs the docs' blocks adds. A failed command is written down with its block; exit code 3 is waiting,
# which is no failure. The page is opened, asked for its health and closed, and simulated people label in its place. Big
# recipes are made small. PYTHON and WORLD come from docs_blocks.py.
set -u
__block=0
__failed() { [ "$1" = 3 ] || printf '%s\t%s\t%s\n' "$__block" "$1" "${2%%$'\n'*}" >> "$__home/failures"; }
trap '__failed $? "$BASH_COMMAND"' ERR
__home=$PWD
__small=(generate.prompts=30 generate.max_new_tokens=8 labels.per_round=20 reward.hidden=4 reward.ngrams=8 \
         referee.hidden=4 referee.ngrams=8 evaluate.prompts=8 evaluate.max_new_tokens=8)
trueloop() {
  local args=() one before="" workspace="${TRUELOOP_WORKSPACE:-}"
  for one in "$@"; do
    if [ "$before" = --workspace ]; then workspace=$one; fi
    before=$one
  done
  for one in "$@"; do
    if [ "$one" = ID ] || [ "$one" = ARTIFACT ]; then one=$(__latest_reward "$workspace"); fi
    args+=("$one")
  done
  case "$1" in
    init) command trueloop "${args[@]}" "${__small[@]}" ;;
    demo) command trueloop "${args[@]}" --world "$WORLD" ;;
    annotate)
      case "$*" in
        *--new-token*|*--set-password*|*--invite*|*--deactivate*|*--reactivate*) command trueloop "${args[@]}" ;;
        *) __label "${args[@]}" ;;
      esac ;;
    *) command trueloop "${args[@]}" ;;
  esac
}
__latest_reward() {
  "$PYTHON" -c "
import pathlib
from annotate.ledger import Ledger
from annotate.workspace import Workspace
with Ledger(Workspace.open(pathlib.Path('$1'))) as ledger:
    print(ledger.latest('reward').id)"
}
__label() {
  local port=$("$PYTHON" -c "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])")
  command trueloop annotate --port "$port" > "$__home/page.log" 2>&1 &
  local page=$! tries=0 health="http://127.0.0.1:$port/api/health"
  until "$PYTHON" -c "import urllib.request; urllib.request.urlopen('$health', timeout=5)" 2> /dev/null
  do
    tries=$((tries + 1))
    if [ $tries -gt 120 ]; then cat "$__home/page.log" >&2; kill $page; return 1; fi
    sleep 0.5
  done
  kill -TERM $page
  wait $page || true
  command trueloop simulate --world "$WORLD"
}
