-- ARGV: seen.
local fence = draw(ARGV[1], '')
if not fence then
  return { 'exhausted' }
end
return { 'drawn', text(fence) }
