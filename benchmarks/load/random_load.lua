-- What wrk asks and how its answers are judged; benchmarks/load/random_load.py starts it and says what all the names mean.
-- A lease that was granted is given back by the next request, on whatever connection, and its user is taken again only
-- after the answer to that: so each change finds its user as it must be, however long another one takes.

local kind = os.getenv("STORM_KIND")
local owner = os.getenv("STORM_OWNER")
local query = os.getenv("STORM_QUERY")
local users = "/api/v1/users/"
local threads, ids, turn = {}, {}, 0
local held, first, last = {}, 1, 0
local free, first_free, last_free = {}, 1, 0
counts = {}

function setup(thread)
  thread:set("number", #threads)
  threads[#threads + 1] = thread
end

function init()
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = os.getenv("STORM_AUTHORIZATION")
  local line = 0
  for id in io.lines(os.getenv("STORM_IDS")) do -- each thread has users of its own, but for the one fought over
    if kind == "hot" or line % tonumber(os.getenv("STORM_THREADS")) == number then
      ids[#ids + 1] = id
      free[#ids], last_free = id, #ids
    end
    line = line + 1
  end
end

local function count(name) counts[name] = (counts[name] or 0) + 1 end

local function next_id()
  turn = turn % #ids + 1
  return ids[turn]
end

local function free_id()
  if first_free > last_free then return next_id() end -- too few users, or refusals: what is answered will tell
  local id = free[first_free]
  free[first_free] = nil
  first_free = first_free + 1
  return id
end

local function set_free(id)
  last_free = last_free + 1
  free[last_free] = id
end

local function acquire()
  if kind == "pool" then
    return wrk.format("POST", users .. "acquire_lock", nil, '{"owner":"' .. owner .. '",' .. query .. '}')
  end
  local id = kind == "hot" and next_id() or free_id()
  return wrk.format("POST", users .. id .. "/acquire_lock", nil, '{"owner":"' .. owner .. '"}')
end

function request()
  if kind == "read" then return wrk.format("GET", users .. next_id() .. "/lock" .. query) end
  if first > last then return acquire() end
  local lease = held[first]
  held[first] = nil
  first = first + 1
  return wrk.format("POST", users .. lease[1] .. "/release_lock", nil, '{"lease_id":"' .. lease[2] .. '"}')
end

local function granted(body, lease_id)
  local id = body:match('"id":"([%x-]+)"')
  local token = tonumber(body:match('"token":(%d+)'))
  if not id or not token then return count("wrong") end
  if kind == "hot" then -- one thread sees all of them: nobody else may hold it, and the token must grow
    if first <= last then count("double") end
    if token <= (newest or 0) then count("old token") end
    newest = token
  end
  last = last + 1
  held[last] = {id, lease_id}
  count("granted")
end

function response(status, headers, body)
  local lease_id = status == 200 and body:match('"lease_id":"([%x-]+)"')
  if status == 200 and kind == "read" then
    count(headers["x-cache"] or headers["X-Cache"] or "wrong")
  elseif lease_id then
    granted(body, lease_id)
  elseif status == 200 and body:find('"released":true', 1, true) then
    count("released")
    if kind == "locks" then set_free(body:match('"id":"([%x-]+)"')) end
  elseif status == 409 and kind == "hot" and body:find("problem:lock-held", 1, true) then
    count("refused")
  elseif status == 409 and kind == "pool" and body:find("problem:no-user-free", 1, true) then
    count("refused")
  else
    count("wrong")
    if not sample then sample = status .. " " .. body:sub(1, 300) end
  end
end

function done(summary, latency)
  local total = {}
  for _, thread in ipairs(threads) do
    for name, value in pairs(thread:get("counts")) do total[name] = (total[name] or 0) + value end
    if thread:get("sample") then io.write("STORM wrong\t" .. thread:get("sample"):gsub("%s", " ") .. "\n") end
  end
  local errors = summary.errors
  io.write("STORM broken\t" .. errors.connect + errors.read + errors.write + errors.timeout .. "\n")
  io.write("STORM seconds\t" .. summary.duration / 1e6 .. "\n")
  io.write("STORM p50_ms\t" .. latency:percentile(50) / 1e3 .. "\n")
  io.write("STORM p99_ms\t" .. latency:percentile(99) / 1e3 .. "\n")
  for name, value in pairs(total) do io.write("STORM count " .. name .. "\t" .. value .. "\n") end
end
