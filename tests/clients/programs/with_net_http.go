// A program with Go's own client.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
)

const base = "https://spaces.nexudus.com"

var token string

func ask(method, path, kind, body string) (int, []byte) {
	request, err := http.NewRequest(method, base+path, strings.NewReader(body))
	check(err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	answer, err := http.DefaultClient.Do(request)
	check(err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	check(err)
	return answer.StatusCode, content
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func read(content []byte) map[string]any {
	var value map[string]any
	check(json.Unmarshal(content, &value))
	return value
}

func main() {
	form := url.Values{"grant_type": {"password"}, "username": {os.Getenv("NEXUDUS_EMAIL")}, "password": {os.Getenv("NEXUDUS_PASSWORD")}}
	_, login := ask("POST", "/api/token", "application/x-www-form-urlencoded", form.Encode())
	token = read(login)["access_token"].(string)
	for page := 1; page <= 2; page++ {
		_, list := ask("GET", fmt.Sprintf("/api/spaces/visitors?page=%d&size=2", page), "", "")
		fmt.Print(len(read(list)["Records"].([]any)), " ")
	}
	created, answer := ask("POST", "/api/spaces/visitors", "application/json", `{"FullName": "Grace"}`)
	number := read(answer)["Value"].(map[string]any)["Id"].(float64)
	deleted, _ := ask("DELETE", fmt.Sprintf("/api/spaces/visitors/%.0f", number), "", "")
	_, echo := ask("PUT", "/api/echo", "", strings.Repeat("x", 300000))
	_, file := ask("GET", "/ContentDownload/x?bytes="+os.Args[1], "", "")
	failed, _ := ask("GET", "/api/spaces/visitors/999999", "", "")
	fmt.Println(created, deleted, read(echo)["body_length"], len(file), failed)
}
