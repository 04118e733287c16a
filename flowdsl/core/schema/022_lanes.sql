-- lanes: one row per (flow, version, queue, priority); tasks carry the lane's number, so that the ready index is narrow
-- and a claim touches only tasks that the worker has handlers for.
-- claim_floor: no ready task of the lane has a smaller message_id, so a claim never walks past the dead index entries of
-- finished tasks, however old a snapshot keeps them alive. It moves in _advance_claim_floor.
-- waiting: some worker found the lane empty and sleeps; whoever makes a task ready sends a NOTIFY.
create table pgflow.lanes (
  lane_id int generated always as identity,
  flow_slug text not null,
  flow_version int not null,
  queue_name text not null,
  priority int not null,
  claim_floor bigint not null default 0,
  next_floor bigint,
  next_floor_xid xid8,
  waiting bool not null default false,
  constraint lanes_pkey primary key (lane_id),
  constraint lanes_are_unique unique (flow_slug, flow_version, queue_name, priority),
  constraint lane_belongs_to_a_flow foreign key (flow_slug) references pgflow.flows on delete cascade,
  constraint lane_queue_is_valid check (pgflow._is_valid_queue(queue_name))
) with (fillfactor = 50);
