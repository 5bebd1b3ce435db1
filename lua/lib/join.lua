-- A pod joins a leader of its claim: in a storm, most of what begin.lua is asked. A few fields of the record say that nothing else
-- decides; whatever they leave open is decided further on, by all that stands there. Names the keys and arguments of that script as it
-- does.

-- Along a chain there is nothing to note where the token counts as used already: its leader came with it.
local is_noted = not chain
if owner and chain and string.sub(chain, 1, 7) == 'direct ' then
  local generation, used = unpack(redis.call('HMGET', flight, 'generation', 'used'))
  is_noted = not generation or used == generation
end
if owner and is_noted and joined == 0 and not waited_us then
  local attempt, claim = string.sub(caller, 1, 36), string.sub(caller, 38, 101)
  local own_fence, leased_ms = string.match(owner, '^[^/]*/(%d+)/(%d+)$')
  -- PARTS HERE: plain
  local led
  if not chain and redis.call('HLEN', flight) == fields_of_a_lead then
    led = redis.call('HGET', flight, 'lead')
  else
    local few = redis.call('HMGET', flight, 'state', 'lead', 'ended', 'abandoned:' .. attempt)
    led = few[1] == 'leading' and not few[3] and not few[4] and few[2]
  end
  if own_fence and led and string.find(led, claim, 38, true) == 38 and string.sub(led, 1, 36) ~= attempt then
    local left, waits = redis.call('PTTL', lock), tag .. 'waits:' .. string.sub(flight, #tag + 8)
    if left <= tonumber(leased_ms) then
      -- To ask how long the others wait would cost as much as this does. Where pods differ, who waits longer may have to look.
      local longest_wait_ms, memory_ms = struct.unpack('<dd', numbers, at)
      redis.call('HSET', waits, pod, attempt)
      redis.call('PEXPIRE', waits, longest_wait_ms)
      -- The record outlives the lock by as long as a lost leader is remembered, and is to outlive who waits, too.
      if left + memory_ms < longest_wait_ms then
        -- PARTS HERE: keep
        keep_at_least(flight, longest_wait_ms)
      end
      return 'join ' .. own_fence .. ' ' .. left
    end
  end
end
