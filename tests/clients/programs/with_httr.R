# A program with httr.
library(httr)

base <- "https://spaces.nexudus.com"
ask <- function(method, path, body = NULL, ...) VERB(method, paste0(base, path), body = body, add_headers(...))
text <- function(answer) content(answer, as = "parsed", type = "application/json")

form <- paste0("grant_type=password&username=", Sys.getenv("NEXUDUS_EMAIL"), "&password=", Sys.getenv("NEXUDUS_PASSWORD"))
login <- ask("POST", "/api/token", form, "Content-Type" = "application/x-www-form-urlencoded")
bearer <- paste("Bearer", text(login)$access_token)
counts <- sapply(1:2, function(page) {
  list <- ask("GET", paste0("/api/spaces/visitors?size=2&page=", page), NULL, Authorization = bearer)
  length(text(list)$Records)
})
created <- ask("POST", "/api/spaces/visitors", '{"FullName": "Grace"}',
  Authorization = bearer, "Content-Type" = "application/json")
deleted <- ask("DELETE", paste0("/api/spaces/visitors/", text(created)$Value$Id), NULL, Authorization = bearer)
echo <- ask("PUT", "/api/echo", strrep("x", 300000), Authorization = bearer, "Content-Type" = "text/plain")
file <- ask("GET", paste0("/ContentDownload/x?bytes=", commandArgs(TRUE)[1]), NULL, Authorization = bearer)
error <- ask("GET", "/api/spaces/visitors/999999", NULL, Authorization = bearer)
cat(counts, status_code(created), status_code(deleted), text(echo)$body_length,
  sprintf("%d", length(content(file, as = "raw"))), status_code(error), "\n")
