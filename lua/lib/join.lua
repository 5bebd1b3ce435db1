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
  local attempt = string.sub(lead, 1, 36)
  local own_fence, leased_ms = string.match(owner, '/(%d+)/(%d+)$')
  local state, led, ended, abandoned = unpack(redis.call('HMGET', flight, 'state', 'lead', 'ended', 'abandoned:' .. attempt))
  local claim = string.sub(lead, 38, 101)
  if own_fence and state == 'leading' and led and string.sub(led, 38, 101) == claim and string.sub(led, 1, 36) ~= attempt
    and not ended and not abandoned then
    local left = redis.call('PTTL', lock)
    if left <= tonumber(leased_ms) then
      redis.call('HSET', flight, 'waits:' .. pod, attempt)
      -- PARTS HERE: keep
      keep_at_least(flight, wait_ms)
      return {'join', own_fence, claim, 'living', left}
    end
  end
end
