#!/usr/bin/env bash
# Prints the metadata of llorch-bk build --metadata-file as Markdown. Notes and names can come
# from an untrusted source, so all of them are code spans.
set -euo pipefail

exec jq -r '
  def code: "`" + (tostring | gsub("[[:cntrl:]]+"; " ") | gsub("`"; "\u0027")) + "`";
  def cell: code | gsub("\\|"; "\\|");
  def row(name): if . == null or . == "" or . == [] then empty else "| \(name) | \(if type == "array" then map(cell) | join("<br>") else cell end) |" end;
  def size: if . >= 1e9 then "\(. / 1e8 | round / 10) GB" elif . >= 1e6 then "\(. / 1e5 | round / 10) MB" else "\(. / 100 | round / 10) kB" end;
  def known: [.steps[]? | select(.kind)];

  . as $built |
  "### llorch-bk", "",
  "| image | |", "| --- | --- |",
  (.tags | row("name")),
  (.digest | row("digest")),
  (.plan.source | [.location, .ref, "\(.commit // "")\(if .dirty then "-dirty" else "" end)"] | map(select(. != null and . != "")) | row("source")),
  ([.plan.variant, .plan.cpu.level, ((.plans // [.plan])[] | .platform)] | map(select(. != null and . != "")) | row("for")),
  ((.plan.cuda.architectures // []) | join(" ") | row("CUDA architectures")),
  "",
  ([known[] | select(.kind == "compile") | .cached // false] | "Parts: **\(map(select(not)) | length) compiled, \(map(select(.)) | length) cached**."),
  ([known[] | .objects | values] | if . == [] then empty else
    "", "Compiler cache: **\(map(.cached) | add) of \(map(.compiles) | add) compiles**" +
    (map(.carried // 0) | add | if . > 0 then ", \(.) of them from \($built.objects.from | code) (\($built.objects.pulled | size))" else "" end) + "." end),
  ($built.objects.to | values | "", "Objects for the next build: \(code), \($built.objects.pushed // 0 | size) new."),
  (if known == [] then empty else
    "", "| step | result | seconds |", "| --- | --- | ---: |",
    (known[] | "| \(if .kind == "compile" then "compile " + ([.part, .platform | select(.)] | map(cell) | join(" ")) else .name | cell end) | \(if .cached then "cached | " else "done | \((.seconds * 100 | round) / 100)" end) |") end),
  (if .layers then "", "| layer | size |", "| --- | ---: |", (.layers[] | "| \(.name | cell) | \(.bytes | size) |") else empty end),
  (if .notes then "", "Notes:", "", (.notes[:50][] | "- \(code)"),
    (if (.notes | length) > 50 then "- and \((.notes | length) - 50) more" else empty end) else empty end),
  ""' "$1"
