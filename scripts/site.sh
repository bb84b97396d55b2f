#!/usr/bin/env bash
# Builds the documents into a site with search: target/site/html/index.html. `make site` runs it.
#
# mdBook wants all pages below one folder with the table of contents at its top, and copies whatever else
# lies there. So the pages, and the files that they link to, are gathered at their own paths below
# target/site/pages: the links between them stay as they are. mdBook is built once, into target/tools.
set -euo pipefail
cd "$(dirname "$0")/.."

mdbook=target/tools/bin/mdbook
if [ ! -x "$mdbook" ]; then
  echo "installing mdBook (once; some minutes)"
  cargo install --quiet --locked --root target/tools --no-default-features --features search mdbook@0.5.4
fi

pages=target/site/pages
rm -rf target/site
mkdir -p "$pages"
git ls-files --cached --others --exclude-standard -- '*.md' 'docs/*.svg' config/example.toml LICENSE |
  xargs -d '\n' cp --parents -t "$pages"

# The links of the table of contents start at the top now, not at docs/.
sed -e 's#](\.\./#](#' -e t -e 's#](\([^)]*\.md\))#](docs/\1)#' docs/SUMMARY.md >"$pages/SUMMARY.md"
rm "$pages/docs/SUMMARY.md"

# mdBook calls a README index.html, and leaves the links to it dead (rust-lang/mdBook#984).
find "$pages" -name README.md -execdir mv README.md index.md \;
find "$pages" -name '*.md' -exec sed -i 's#](\([^):]*\)README\.md#](\1index.md#g' {} +

"$mdbook" build
echo "target/site/html/index.html"
