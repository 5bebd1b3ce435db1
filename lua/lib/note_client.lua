-- Notes that a client succeeded with its credential. The keys are told in known.lua; mirrors src/admission/known.rs.

-- More clients are not known at once.
local most_clients = 1000

-- One client too many: the one that succeeded longest ago makes way.
local function forget_oldest_client(known)
  local oldest, first
  for field, ends in pairs(read_hash(known)) do
    if string.sub(field, 1, 7) == 'client:' and (not first or tonumber(ends) < first) then
      oldest, first = field, tonumber(ends)
    end
  end
  redis.call('HDEL', known, oldest)
end

local function note_client(known, credential, now)
  if redis.call('HSET', known, 'client:' .. credential, whole(now + known_for_ms)) == 1
    -- One field more is the count of tokens.
    and redis.call('HLEN', known) > most_clients + 1 then
    forget_oldest_client(known)
  end
  redis.call('PEXPIRE', known, known_for_ms)
end
