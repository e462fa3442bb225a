"""Writes what transformers renders from chat templates, for `chat.rs`.

Usage: make_chat.py FOLDER OUTPUT.json: each `*.jinja` of a folder, with the conversations below. The goldens in `chat/` are
from `make_chat.py chat chat/expected.json`, run in this folder with transformers 5.23.
"""

import datetime
import json
import pathlib
import sys

import jinja2
from transformers.utils import chat_template_utils

NOW = datetime.datetime(2026, 3, 5, 14, 7, 9)


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


chat_template_utils.datetime = Clock

USER = {"role": "user", "content": " Ünïcode <b>&'\"</b>\n\nhow? "}
SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "<think>\nhm\n</think>\n\nLike so."}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather, in °C <now>",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "Where", "enum": ["Ulm", "Köln"]},
                "days": {"type": "integer", "default": 1},
                "scale": {"type": "number", "minimum": 0.5, "maximum": 1e20},
                "wet": {"type": ["boolean", "null"]},
            },
            "required": ["place"],
        },
    },
}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "weather", "arguments": {"place": "Köln", "days": 2, "wet": None, "scale": 0.5}},
        }
    ],
}
NULL_CALL = {**CALL, "content": None}
TEXT_CALL = {
    **CALL,
    "tool_calls": [
        {**CALL["tool_calls"][0], "function": {"name": "weather", "arguments": '{"place": "Köln", "days": 2}'}}
    ],
}
RESULT = {"role": "tool", "content": '{"sky": "grey"}', "name": "weather", "tool_call_id": "abcdefghi"}
PARTS = {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "text", "text": "here."}]}
THOUGHT = {"role": "assistant", "content": "Done.", "reasoning_content": "It is easy."}

CONVERSATIONS = {
    "user": {"messages": [USER]},
    "user, prompt": {"messages": [USER], "add_generation_prompt": True},
    "system": {"messages": [SYSTEM, USER], "add_generation_prompt": True},
    "turns": {"messages": [SYSTEM, USER, ANSWER, USER], "add_generation_prompt": True},
    "turns, no system": {"messages": [USER, ANSWER, USER, ANSWER]},
    "wrong order": {"messages": [USER, USER, ANSWER]},
    "empty": {"messages": []},
    "parts": {"messages": [PARTS], "add_generation_prompt": True},
    "thinking off": {"messages": [USER], "add_generation_prompt": True, "variables": {"enable_thinking": False}},
    "reasoning": {"messages": [USER, THOUGHT, USER], "add_generation_prompt": True},
    "tools": {"messages": [SYSTEM, USER], "add_generation_prompt": True, "tools": [TOOL]},
    "tools, no system": {"messages": [USER], "tools": [TOOL, TOOL]},
    "call": {"messages": [SYSTEM, USER, CALL, RESULT], "add_generation_prompt": True, "tools": [TOOL]},
    "null call": {"messages": [USER, NULL_CALL, RESULT, ANSWER], "tools": [TOOL]},
    "text call": {"messages": [USER, TEXT_CALL, RESULT], "add_generation_prompt": True, "tools": [TOOL]},
    "documents": {"messages": [USER], "documents": [{"title": "Rain", "text": "It falls."}]},
}


def render(template, conversation):
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            [conversation["messages"]],
            tools=conversation.get("tools"),
            documents=conversation.get("documents"),
            chat_template=template,
            add_generation_prompt=conversation.get("add_generation_prompt", False),
            bos_token="<s>",
            eos_token="</s>",
            **conversation.get("variables", {}),
        )
        return {"text": rendered[0]}
    except jinja2.exceptions.TemplateError as error:
        raised = type(error) is jinja2.exceptions.TemplateError
        return {"raised": str(error)} if raised else {"failed": f"{type(error).__name__}: {error}"}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def main():
    folder, output = map(pathlib.Path, sys.argv[1:])
    cases = []
    for path in sorted(folder.glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        expected = {name: render(template, conversation) for name, conversation in CONVERSATIONS.items()}
        cases.append({"template": path.name, "expected": expected})
    # Conversations are text within the file: their keys' order matters, and not every reader keeps it.
    conversations = {
        name: {
            key: [json.dumps(item, ensure_ascii=False) for item in value] if isinstance(value, list) else value
            for key, value in conversation.items()
        }
        for name, conversation in CONVERSATIONS.items()
    }
    whole = {"conversations": conversations, "templates": cases}
    output.write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


main()
