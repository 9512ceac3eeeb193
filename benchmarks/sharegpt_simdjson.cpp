// ShareGPT JSONL to OpenAI chat JSONL with simdjson's on-demand parser: roles mapped, texts passed through, no checks.
// The yardstick of data_throughput.py: about as fast as one thread can go.
#include <fcntl.h>
#include <simdjson.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <string_view>

using namespace simdjson;

static std::string_view role_of(std::string_view word) {
  if (word == "human") return "user";
  if (word == "gpt" || word == "function_call") return "assistant";
  if (word == "observation") return "tool";
  return word;
}

int main(int count, char **names) {
  if (count != 3) return 2;
  padded_string data;
  if (padded_string::load(names[1]).get(data)) return 1;
  const int out = open(names[2], O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (out < 0) return 1;
  ondemand::parser parser;
  ondemand::document_stream rows;
  if (parser.iterate_many(data, 1 << 22).get(rows)) return 1;
  std::string text;
  const auto flush = [&] {
    for (size_t at = 0; at < text.size();) {
      const ssize_t written = write(out, text.data() + at, text.size() - at);
      if (written < 0) _exit(1);
      at += static_cast<size_t>(written);
    }
    text.clear();
  };
  for (auto row : rows) {
    text += "{\"messages\":[";
    bool first = true;
    for (ondemand::object turn : row["conversations"].get_array()) {
      text += first ? "{\"role\":\"" : ",{\"role\":\"";
      first = false;
      std::string_view from, value;
      if (turn["from"].get_string().get(from)) return 1;
      text += role_of(from);
      text += "\",\"content\":";
      if (turn["value"].raw_json_token().get(value)) return 1;
      while (!value.empty() && (value.back() == ' ' || value.back() == '\n')) value.remove_suffix(1);
      text += value;
      text += '}';
    }
    text += "]}\n";
    if (text.size() > (1 << 18)) flush();
  }
  flush();
  return close(out);
}
