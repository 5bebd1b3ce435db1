-- The pods that wait for a flight.

-- The fields by which pods wait, nil where none does; and whether an attempt was marked as gone.
local function waits_and_marks(record)
  local waits, is_marked
  for field in pairs(record) do
    -- Mostly the others are single words.
    if string.find(field, ':', 1, true) then
      if string.sub(field, 1, 6) == 'waits:' then
        waits = waits or {}
        waits[#waits + 1] = field
      elseif string.sub(field, 1, 10) == 'abandoned:' then
        is_marked = true
      end
    end
  end
  return waits, is_marked
end

-- Tells every pod that waits for a flight, once, and forgets them.
--
-- Last of all that is written, and by pcall: a channel that the ACL forbids must not undo what was decided.
-- The channels are in the slot of the keys, but not among them: the waiting pods are known only here.
local function tell_waiting(flight, waits, channels, message)
  if not waits then
    return
  end
  -- Lua unpacks no more than some thousands.
  for first = 1, #waits, 1000 do
    redis.call('HDEL', flight, unpack(waits, first, math.min(first + 999, #waits)))
  end
  for _, field in ipairs(waits) do
    redis.pcall('PUBLISH', channels .. string.sub(field, 7), message)
  end
end
