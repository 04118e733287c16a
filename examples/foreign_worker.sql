-- A flow that no Python of ours takes part in: a headline is split, every word is shouted, the words are joined again.
-- It is defined by hand here; see foreign_worker.sh for the worker.
select from pgflow.create_flow('headline', max_attempts => 3, base_delay => 0, timeout => 30);
select from pgflow.add_step('headline', 'split');
select from pgflow.add_step('headline', 'shout', deps_slugs => '{split}', step_type => 'map');
select from pgflow.add_step('headline', 'join', deps_slugs => '{shout}');
select run_id from pgflow.start_flow('headline', '"workflows in plain sql"');
