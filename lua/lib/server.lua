-- What number is a fence.

-- A larger number is no fence: who writes one, once, would end the namespace.
local fences_end = 2 ^ 52

-- A fence that a key or a pod names, 0 for what is none.
local function fence_number(text)
  local number = tonumber(text or '0')
  return number and number >= 0 and number < fences_end and math.floor(number) or 0
end
