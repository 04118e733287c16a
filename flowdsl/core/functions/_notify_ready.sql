-- _notify_ready: wake the workers that sleep on these lanes: NOTIFY pgflow_tasks with the queue's name, once per queue.
-- Only lanes that some worker found empty are notified: a NOTIFY makes commits queue up, so a busy lane sends none.
-- No lock is taken, so that a caller's long transaction holds up nobody; a wake-up lost to that race costs one poll.
-- Locks: none.  Writes: nothing; NOTIFY.  Raises: nothing.
create function pgflow._notify_ready(p_lane_ids int[]) returns void
language plpgsql volatile
set search_path = ''
as $fn$
begin
  perform pg_notify('pgflow_tasks', q.queue_name)
  from (
    select distinct l.queue_name from pgflow.lanes l where l.lane_id = any (p_lane_ids) and l.waiting
  ) q;
end
$fn$;
