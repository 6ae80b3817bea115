# ruff: noqa: E501 (templates are long)

"""Published chat templates, shortened, and the same templates in Python.

In Python, a template yields pieces of text, each with the number of its message or None.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from crosscoder.lm import TinyLM

Piece = tuple[str, int | None]
Pieces = Callable[[list[dict], bool], Iterator[Piece]]
BOS, EOS = "<bos>", "<eos>"


@dataclass(frozen=True)
class Template:
    """A chat template.

    Args:
        source: The template in Jinja.
        pieces: The same template in Python: yields what it writes for (messages, opening).
        takes_system: False if it refuses system messages.
    """

    source: str
    pieces: Pieces
    takes_system: bool = True

    def tokenizer(self):
        """Return the tiny byte tokenizer with this template."""
        tokenizer = TinyLM(0).load_tokenizer()
        tokenizer.chat_template = self.source
        return tokenizer


def trim_pieces(before: str, content: str, number: int, after: str) -> Iterator[Piece]:
    yield before, None
    yield content.strip(), number
    yield after, None


def plain_pieces(before: str, content: str, number: int, after: str) -> Iterator[Piece]:
    yield before, None
    yield content, number
    yield after, None


# --- Gemma ---

GEMMA2 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\\n' + message['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}"
)


def gemma2(messages: list[dict], opening: bool) -> Iterator[Piece]:
    yield BOS, None
    for i, message in enumerate(messages):
        role = "model" if message["role"] == "assistant" else message["role"]
        yield from trim_pieces(f"<start_of_turn>{role}\n", message["content"], i, "<end_of_turn>\n")
    if opening:
        yield "<start_of_turn>model\n", None


GEMMA3 = (
    "{{ bos_token }}{%- if messages[0]['role'] == 'system' -%}{%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}"
    "{%- set loop_messages = messages[1:] -%}{%- else -%}{%- set first_user_prefix = '' -%}"
    "{%- set loop_messages = messages -%}{%- endif -%}{%- for message in loop_messages -%}"
    "{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}{{ raise_exception('must alternate') }}{%- endif -%}"
    "{%- if (message['role'] == 'assistant') -%}{%- set role = 'model' -%}{%- else -%}{%- set role = message['role'] -%}{%- endif -%}"
    "{{ '<start_of_turn>' + role + '\\n' + (first_user_prefix if loop.first else '') }}"
    "{{ message['content'] | trim }}{{ '<end_of_turn>\\n' }}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}"
)


def gemma3(messages: list[dict], opening: bool) -> Iterator[Piece]:
    yield BOS, None
    has_system = messages[0]["role"] == "system"
    for i, message in enumerate(messages[has_system:], int(has_system)):
        role = "model" if message["role"] == "assistant" else message["role"]
        yield f"<start_of_turn>{role}\n", None
        if has_system and i == 1:
            yield from plain_pieces("", messages[0]["content"], 0, "\n\n")
        yield from trim_pieces("", message["content"], i, "<end_of_turn>\n")
    if opening:
        yield "<start_of_turn>model\n", None


# --- Llama ---

LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}"
)


def llama2(messages: list[dict], opening: bool) -> Iterator[Piece]:
    has_system = messages[0]["role"] == "system"
    for i, message in enumerate(messages[has_system:], int(has_system)):
        content = message["content"]
        if message["role"] == "assistant":
            yield from trim_pieces(" ", content, i, f" {EOS}")
        elif has_system and i == 1:
            yield f"{BOS}[INST] <<SYS>>\n", None
            # a blank message is trimmed together with the line breaks before it
            after = "\n<</SYS>>\n\n" if content.strip() else "\n<</SYS>>"
            yield from plain_pieces("", messages[0]["content"], 0, after)
            yield from plain_pieces("", content.rstrip(), i, " [/INST]")
        else:
            yield from trim_pieces(f"{BOS}[INST] ", content, i, " [/INST]")


LLAMA3 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}"
    "{%- else %}{%- set system_message = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\nToday Date: ' + date_string + '\\n\\n' }}"
    "{{- system_message }}{{- '<|eot_id|>' }}{%- for message in messages %}"
    "{{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}"
)


def llama3(messages: list[dict], opening: bool) -> Iterator[Piece]:
    yield f"{BOS}<|start_header_id|>system<|end_header_id|>\n\n", None
    yield "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n", None
    has_system = messages[0]["role"] == "system"
    if has_system:
        yield messages[0]["content"].strip(), 0
    yield "<|eot_id|>", None
    for i, message in enumerate(messages[has_system:], int(has_system)):
        before = f"<|start_header_id|>{message['role']}<|end_header_id|>\n\n"
        yield from trim_pieces(before, message["content"], i, "<|eot_id|>")
    if opening:
        yield "<|start_header_id|>assistant<|end_header_id|>\n\n", None


# --- Mistral ---

MISTRAL_1 = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('must alternate') }}{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token + ' ' }}{% else %}{{ raise_exception('Only user and assistant roles') }}{% endif %}{% endfor %}"
)


def mistral_1(messages: list[dict], opening: bool) -> Iterator[Piece]:
    yield BOS, None
    for i, message in enumerate(messages):
        if message["role"] == "user":
            yield from plain_pieces("[INST] ", message["content"], i, " [/INST]")
        else:
            yield from plain_pieces("", message["content"], i, f"{EOS} ")


MISTRAL_3 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'user' %}{% if loop.last and messages[0]['role'] == 'system' %}"
    "{{ '[INST]' + messages[0]['content'] + '\\n\\n' + message['content'] + '[/INST]' }}{% else %}"
    "{{ '[INST]' + message['content'] + '[/INST]' }}{% endif %}{% elif message['role'] == 'assistant' %}"
    "{{ ' ' + message['content']|trim + eos_token }}{% endif %}{% endfor %}"
)


def mistral_3(messages: list[dict], opening: bool) -> Iterator[Piece]:
    yield BOS, None
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            yield from trim_pieces(" ", message["content"], i, EOS)
        elif message["role"] == "user":
            yield "[INST]", None
            if i == len(messages) - 1 and messages[0]["role"] == "system":
                yield from plain_pieces("", messages[0]["content"], 0, "\n\n")
            yield from plain_pieces("", message["content"], i, "[/INST]")


# --- ChatML and Qwen ---

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def chatml(messages: list[dict], opening: bool) -> Iterator[Piece]:
    for i, message in enumerate(messages):
        before = f"<|im_start|>{message['role']}\n"
        yield from plain_pieces(before, message["content"], i, "<|im_end|>\n")
    if opening:
        yield "<|im_start|>assistant\n", None


QWEN25 = (
    "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}"
    "{{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"
    "{%- for message in messages %}{%- if (message.role == 'user') or (message.role == 'system' and not loop.first) or "
    "(message.role == 'assistant' and not message.tool_calls) %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)


def qwen25(messages: list[dict], opening: bool) -> Iterator[Piece]:
    if messages[0]["role"] != "system":
        default = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
        yield f"<|im_start|>system\n{default}<|im_end|>\n", None
    yield from chatml(messages, opening)


QWEN3 = (
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}{%- for message in messages[::-1] %}"
    "{%- set index = (messages|length - 1) - loop.index0 %}{%- if ns.multi_step_tool and message.role == 'user' and "
    "message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}"
    "{%- set ns.multi_step_tool = false %}{%- set ns.last_query_index = index %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}{%- set content = message.content %}{%- if message.role == 'assistant' %}"
    "{%- set reasoning_content = '' %}{%- if '</think>' in content %}"
    "{%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
    "{%- set content = content.split('</think>')[-1].lstrip('\\n') %}{%- endif %}"
    "{%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}"
    "{{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\\n' + content }}{%- endif %}{{- '<|im_end|>\\n' }}"
    "{%- else %}{{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)


def qwen3(messages: list[dict], opening: bool) -> Iterator[Piece]:
    last_query = len(messages) - 1
    for i in reversed(range(len(messages))):
        if messages[i]["role"] == "user" and not _is_tool_response(messages[i]["content"]):
            last_query = i
            break
    for i, message in enumerate(messages):
        content = message["content"]
        reasoning = ""
        yield f"<|im_start|>{message['role']}\n", None
        if message["role"] == "assistant":
            if "</think>" in content:
                thought = content.split("</think>")[0].rstrip("\n")
                reasoning = thought.split("<think>")[-1].lstrip("\n")
                content = content.split("</think>")[-1].lstrip("\n")
            if i > last_query and (i == len(messages) - 1 or reasoning):
                yield "<think>\n", None
                yield reasoning.strip("\n"), i
                yield "\n</think>\n\n", None
                content = content.lstrip("\n")
        yield content, i
        yield "<|im_end|>\n", None
    if opening:
        yield "<|im_start|>assistant\n", None


def _is_tool_response(content: str) -> bool:
    return content.startswith("<tool_response>") and content.endswith("</tool_response>")


# --- Phi, Zephyr, OLMo, Command R, DeepSeek, gpt-oss ---

PHI3 = (
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\\n' + message['content'] + '<|end|>\\n'}}"
    "{% elif message['role'] == 'user' %}{{'<|user|>\\n' + message['content'] + '<|end|>\\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\\n' + message['content'] + '<|end|>\\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
)


def phi3(messages: list[dict], opening: bool) -> Iterator[Piece]:
    for i, message in enumerate(messages):
        yield from plain_pieces(f"<|{message['role']}|>\n", message["content"], i, "<|end|>\n")
    yield "<|assistant|>\n" if opening else EOS, None


PHI4 = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '<|im_sep|>' + message['content'] + '<|im_end|>'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant<|im_sep|>' }}{% endif %}"
)


def phi4(messages: list[dict], opening: bool) -> Iterator[Piece]:
    for i, message in enumerate(messages):
        before = f"<|im_start|>{message['role']}<|im_sep|>"
        yield from plain_pieces(before, message["content"], i, "<|im_end|>")
    if opening:
        yield "<|im_start|>assistant<|im_sep|>", None


ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'system' %}\n{{ '<|system|>\\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)


def zephyr(messages: list[dict], opening: bool) -> Iterator[Piece]:
    for i, message in enumerate(messages):
        yield from plain_pieces(f"<|{message['role']}|>\n", message["content"], i, f"{EOS}\n")
    if opening:
        yield "<|assistant|>\n", None


OLMO2 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\\n' + message['content'] + '\\n' }}"
    "{% elif message['role'] == 'user' %}{{ '<|user|>\\n' + message['content'] + '\\n' }}{% elif message['role'] == 'assistant' %}"
    "{% if not loop.last %}{{ '<|assistant|>\\n'  + message['content'] + eos_token + '\\n' }}{% else %}"
    "{{ '<|assistant|>\\n'  + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}{% endfor %}"
)


def olmo2(messages: list[dict], opening: bool) -> Iterator[Piece]:
    yield BOS, None
    for i, message in enumerate(messages):
        after = "\n"
        if message["role"] == "assistant":
            after = EOS if i == len(messages) - 1 else f"{EOS}\n"
        yield from plain_pieces(f"<|{message['role']}|>\n", message["content"], i, after)
    if opening:
        yield "<|assistant|>\n", None


COMMAND_R = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}"
    "{% set system_message = 'You are Command-R, a brilliant chatbot.' %}{% endif %}"
    "{{ '<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>' + system_message + '<|END_OF_TURN_TOKEN|>' }}{% for message in loop_messages %}"
    "{% set content = message['content'] %}{% if message['role'] == 'user' %}"
    "{{ '<|START_OF_TURN_TOKEN|><|USER_TOKEN|>' + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% elif message['role'] == 'assistant' %}"
    "{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>'  + content.strip() + '<|END_OF_TURN_TOKEN|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>' }}{% endif %}"
)


def command_r(messages: list[dict], opening: bool) -> Iterator[Piece]:
    has_system = messages[0]["role"] == "system"
    yield f"{BOS}<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>", None
    if has_system:
        yield messages[0]["content"], 0
    else:
        yield "You are Command-R, a brilliant chatbot.", None
    yield "<|END_OF_TURN_TOKEN|>", None
    for i, message in enumerate(messages[has_system:], int(has_system)):
        role = "USER" if message["role"] == "user" else "CHATBOT"
        before = f"<|START_OF_TURN_TOKEN|><|{role}_TOKEN|>"
        yield from trim_pieces(before, message["content"], i, "<|END_OF_TURN_TOKEN|>")
    if opening:
        yield "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>", None


DEEPSEEK_R1 = (
    "{% set ns = namespace(system_prompt='') %}{%- for message in messages %}{%- if message['role'] == 'system' %}"
    "{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}"
    "{%- for message in messages %}{%- if message['role'] == 'user' %}{{'<|User|>' + message['content']}}{%- endif %}"
    "{%- if message['role'] == 'assistant' and message['content'] is not none %}{% set content = message['content'] %}"
    "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
    "{{'<|Assistant|>' + content + '<|end_of_sentence|>'}}{%- endif %}{%- endfor -%}"
    "{% if add_generation_prompt %}{{'<|Assistant|><think>\\n'}}{% endif %}"
)


def deepseek_r1(messages: list[dict], opening: bool) -> Iterator[Piece]:
    yield BOS, None
    for i, message in enumerate(messages):
        if message["role"] == "system":
            yield message["content"], i
    for i, message in enumerate(messages):
        if message["role"] == "user":
            yield from plain_pieces("<|User|>", message["content"], i, "")
        elif message["role"] == "assistant":
            answer = message["content"].split("</think>")[-1]
            yield from plain_pieces("<|Assistant|>", answer, i, "<|end_of_sentence|>")
    if opening:
        yield "<|Assistant|><think>\n", None


GPT_OSS = (
    "{{- '<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\\nCurrent date: ' + "
    "strftime_now('%Y-%m-%d') + '\\n\\nReasoning: medium<|end|>' }}"
    "{%- if messages[0].role in ['developer', 'system'] %}{%- set developer_message = messages[0].content %}{%- set loop_messages = messages[1:] %}"
    "{%- else %}{%- set developer_message = '' %}{%- set loop_messages = messages %}{%- endif %}{%- if developer_message %}"
    "{{- '<|start|>developer<|message|># Instructions\\n\\n' }}{{- developer_message }}{{- '\\n\\n<|end|>' }}{%- endif %}"
    "{%- for message in loop_messages -%}{%- if message.role == 'assistant' %}{%- if '<|channel|>analysis<|message|>' in message.content %}"
    "{{- raise_exception('no channel tags') }}{%- endif %}"
    "{{- '<|start|>assistant<|channel|>final<|message|>' + message.content + ('<|return|>' if loop.last and not add_generation_prompt else '<|end|>') }}"
    "{%- elif message.role == 'user' %}{{- '<|start|>user<|message|>' + message.content + '<|end|>' }}{%- endif %}{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}"
)


def gpt_oss(messages: list[dict], opening: bool) -> Iterator[Piece]:
    identity = "You are ChatGPT, a large language model trained by OpenAI."
    yield f"<|start|>system<|message|>{identity}\n", None
    yield "Current date: 2024-07-26\n\nReasoning: medium<|end|>", None
    has_system = messages[0]["role"] == "system"
    if has_system and messages[0]["content"]:
        before = "<|start|>developer<|message|># Instructions\n\n"
        yield from plain_pieces(before, messages[0]["content"], 0, "\n\n<|end|>")
    for i, message in enumerate(messages[has_system:], int(has_system)):
        if message["role"] == "user":
            yield from plain_pieces("<|start|>user<|message|>", message["content"], i, "<|end|>")
        else:
            is_final = i == len(messages) - 1 and not opening
            after = "<|return|>" if is_final else "<|end|>"
            before = "<|start|>assistant<|channel|>final<|message|>"
            yield from plain_pieces(before, message["content"], i, after)
    if opening:
        yield "<|start|>assistant", None


# --- templates of these tests ---

DATE_IN_LOOP = "{% for m in messages %}[{{ m.role }}, {{ strftime_now('%A, %d %B %Y') }}] {{ m.content }}\n{% endfor %}"


def date_in_loop(messages: list[dict], opening: bool) -> Iterator[Piece]:
    for i, message in enumerate(messages):
        before = f"[{message['role']}, Friday, 26 July 2024] "
        yield from plain_pieces(before, message["content"], i, "\n")


TWICE = "{% for m in messages %}{{ m.content }}|{{ m.content[:3] }}|{% generation %}{{ m.content }}{% endgeneration %};{% endfor %}"


def twice(messages: list[dict], opening: bool) -> Iterator[Piece]:
    for i, message in enumerate(messages):
        yield from plain_pieces("", message["content"], i, "|")
        yield from plain_pieces("", message["content"][:3], i, "|")
        yield from plain_pieces("", message["content"], i, ";")


PUBLISHED = {
    "gemma2": Template(GEMMA2, gemma2, takes_system=False),
    "gemma3": Template(GEMMA3, gemma3),
    "llama2": Template(LLAMA2, llama2),
    "llama3": Template(LLAMA3, llama3),
    "mistral_1": Template(MISTRAL_1, mistral_1, takes_system=False),
    "mistral_3": Template(MISTRAL_3, mistral_3),
    "chatml": Template(CHATML, chatml),
    "qwen25": Template(QWEN25, qwen25),
    "qwen3": Template(QWEN3, qwen3),
    "phi3": Template(PHI3, phi3),
    "phi4": Template(PHI4, phi4),
    "zephyr": Template(ZEPHYR, zephyr),
    "olmo2": Template(OLMO2, olmo2),
    "command_r": Template(COMMAND_R, command_r),
    "deepseek_r1": Template(DEEPSEEK_R1, deepseek_r1),
    "gpt_oss": Template(GPT_OSS, gpt_oss),
    "date_in_loop": Template(DATE_IN_LOOP, date_in_loop),
    "twice": Template(TWICE, twice),
}
