-- Which server decides, and what number is a fence. incarnation.lua has what follows where another one decided before.

-- A larger number is no fence: who writes one, once, would end the namespace.
local fences_end = 2 ^ 52

-- A fence that a key or a pod names, 0 for what is none.
local function fence_number(text)
  local number = tonumber(text or '0')
  return number and number >= 0 and number < fences_end and math.floor(number) or 0
end

-- The run id of this server, nil where the user may not ask; and all that it says.
local function ask_run_id()
  local info = redis.pcall('INFO', 'server')
  -- It is far down there, and to match all before it costs as much as a small call.
  local _, before = string.find(type(info) == 'string' and info or '', 'run_id:', 1, true)
  return before and string.sub(info, before + 1, before + 40), info
end
