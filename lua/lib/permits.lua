-- The permits that are out. Mirrors src/admission/budget.rs; budget.lua has who gets them. Comes after in_use.lua.
--
-- permits         sorted set: holder -> when its permit ends. A leader holds it by its owner, until the end of its lease; a
--                 flight that was called from the queue by its place there, until it has had the time to come
-- budget          string: how many permits are out. Compared with the limit and set by every script that changes permits, so
--                 that the two are equal at every moment; they end together, too
-- queue           sorted set: client -> its turn, a number that grows: the client whose turn is lowest got no permit for longest
-- queue:<client>  sorted set: '<pod> <attempt> <flight>' -> when it came, in us. 'strangers' is the client of all callers that are
--                 not known. Known only inside of the scripts: in the slot of the others, and not in KEYS
-- shares          hash: holder -> client, for permits that were given while flights of several clients queued. Not in KEYS either. By
--                 pcall: what it says is fair, and nothing hangs on it
--
-- budget: permits, counter, queue (keys), limit, lease_ms, called_ms, channels, now; wait_ms where flights queue

local function shares_key(budget)
  return string.sub(budget.queue, 1, -#'queue' - 1) .. 'shares'
end

-- While several queue, permits are given sooner than that.
local shares_last_ms = 60 * 1000

-- This permit counts for its client while several queue.
local function note_share(budget, holder, client)
  redis.pcall('HSET', shares_key(budget), holder, client)
  redis.pcall('PEXPIRE', shares_key(budget), shares_last_ms)
end

-- The owner has the permit that was kept for its place in the queue, and was counted then.
local function take_called_permit(budget, place, owner, in_use)
  redis.call('ZREM', budget.permits, place)
  local client = redis.pcall('HGET', shares_key(budget), place)
  if type(client) == 'string' then
    redis.pcall('HDEL', shares_key(budget), place)
    note_share(budget, owner, client)
  end
  set_in_use(budget, in_use)
end
