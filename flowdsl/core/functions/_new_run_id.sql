-- _new_run_id: a time-ordered UUID (version 7, RFC 9562): 48 bits of Unix milliseconds, then random bits.
-- Ordered ids keep inserts on the last pages of the indexes. PostgreSQL has its own uuidv7() only from 18 on.
-- A body that is parsed once needs no search_path and can be inlined.
-- Locks: none.  Raises: nothing.
create function pgflow._new_run_id() returns uuid
language sql volatile parallel safe
-- a random UUID has version 4 (0100); setting two bits makes it 7 (0111)
return encode(
  set_bit(set_bit(
    overlay(
      uuid_send(gen_random_uuid())
      placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
      from 1 for 6
    ), 52, 1), 53, 1),
  'hex')::uuid;
